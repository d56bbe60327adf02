"""A day in a city, stop by stop."""

from models.world.values import Kind, Topic, items, lines

FIRST = """
a walk through the old town of {t}: before the crowds arrive | along quiet lanes
"""
LATER = """
the city museum: with its famous paintings | for an hour or two
the shopping street: for a few small presents | full of bright windows
the oldest church in {t}: with its cool stone walls | and its fine windows
a bench by the water: with a view of the roofs | for a short rest
dinner in a small place: where the people of {t} eat | at a table outside
"""


def city(name: str, table: str) -> Topic:
    return Topic(name, items((FIRST + table + LATER).replace("{t}", name)), words=(name.lower(),))


CITIES: tuple[Topic, ...] = (
    city(
        "Lisbon",
        """
        a ride on the yellow tram: up the steep hills | with the windows open
        custard tarts in a bakery: still warm | with a little cinnamon
        the castle above the houses: for the evening light | with its peacocks
        """,
    ),
    city(
        "Rome",
        """
        the great fountain: with a coin in your hand | early in the day
        a scoop of gelato: on the steps of a square | in two flavours
        the old forum: among broken columns | with a good hat
        """,
    ),
    city(
        "Paris",
        """
        warm croissants: from a corner bakery | with a hot drink
        a boat on the Seine: under the bridges | at sunset
        the garden with the green chairs: by the pond | under old trees
        """,
    ),
    city(
        "Vienna",
        """
        a slice of chocolate cake: in a grand old cafe | with cream
        the palace garden: up to the arch on the hill | among the roses
        an evening of music: in a small hall | with a glass of wine
        """,
    ),
    city(
        "Kyoto",
        """
        the path of red gates: up the quiet hill | before breakfast
        a bowl of noodles: at a wooden counter | hot and rich
        the bamboo grove: when the wind moves it | in the soft light
        """,
    ),
    city(
        "Prague",
        """
        the old stone bridge: at first light | with its dark statues
        the clock on the square: at the full hour | among the crowd
        a plate of dumplings: in a warm cellar | with gravy
        """,
    ),
    city(
        "Oslo",
        """
        the roof of the opera house: white against the sea | with a wide view
        a ferry to the islands: for a short swim | across the fjord
        the sculpture park: among stone figures | on green lawns
        """,
    ),
    city(
        "Dublin",
        """
        the old college and its long room: full of dusty shelves | on a guided tour
        a song in a pub: with people from nearby | after dark
        the windy pier: out to the lighthouse | with a bag of chips
        """,
    ),
)

TRAVEL = Kind(
    name="travel",
    label="travel days",
    pattern=r"\b(day in|a day (?:trip )?(?:to|around)|day trip|sightseeing|itinerary|stops|visit|trip to|see in)\b",
    noun="stops",
    ordered=True,
    topics={t.name: t for t in CITIES},
    asks=lines("""
        Plan a day in {topic} with {n} stops.
        Plan one day in {topic} with {n} stops.
        Write an itinerary for a day in {topic} with {n} stops.
        I have a day in {topic} and want to make {n} stops.
        Can you plan {n} stops for a day in {topic}?
        Give me {n} stops for a day in {topic}.
        Help me plan a day in {topic} with {n} stops.
        What {n} stops should I make on a day in {topic}?
        Please plan a day trip to {topic} with {n} stops.
        Suggest {n} stops for a day in {topic}.
        Could you plan a day in {topic}?
        We visit {topic} and have time for {n} stops.
        Make an itinerary with {n} stops for {topic}.
        List {n} stops for our day trip to {topic}.
        Which {n} stops fit into a day in {topic}?
        """),
    values={
        "people": ("two", "three", "four"),
        "day": ("Saturday", "Sunday", "Friday", "Monday"),
        "avoid": ("museums", "shopping", "churches"),
        "mention": ("coffee", "a market", "a park", "a view", "lunch"),
        "budget": ("30", "50", "80"),
        "words": ("40", "50", "60", "70"),
        "question": ("",),
        "tip": ("",),
    },
    quals={"people": " for {v}", "budget": ", for under {v} dollars"},
    says={
        "people": lines("""
            It is a good day for {v} people.
            There is room for {v} people at each stop.
            """),
        "day": lines("""
            Everything is open on {v}.
            It works well on a {v}.
            """),
        "budget": lines("""
            You will spend less than {v} dollars.
            All of it costs under {v} dollars.
            """),
    },
    mentions={
        "coffee": (
            "coffee on a sunny square: strong and hot | with a small cake",
            "coffee at a street stand: standing up",
        ),
        "a market": ("a market with fresh fruit: for a late snack", "a market under a glass roof: full of colours"),
        "a park": ("a park with old trees: for a slow walk", "a park by the river: to sit in the grass"),
        "a view": ("a tower with a view: up the narrow stairs", "a view from the hill: worth the climb"),
        "lunch": ("lunch on a terrace: in the shade", "lunch in a side street: simple and good"),
    },
    mention_items=True,
    intros=lines("""
        Here is a day in {topic}{q}.
        This is how I would spend a day in {topic}{q}.
        {topic} in {n} stops could look like this{q}.
        This plan takes you through {topic}{q}.
        A good day in {topic} has these {n} stops{q}.
        """),
    closings=lines("""
        You can walk from one to the next.
        Take your time between the stops.
        Leave early and rest at noon.
        The evening is yours.
        Wear good shoes.
        """),
    tips=lines("""
        Tip: buy the tickets the day before.
        Tip: a day ticket for the bus saves money.
        Tip: fill your bottle at the public taps.
        Tip: save the best place for the evening light.
        """),
    questions=lines("""
        Would you rather walk or take the bus?
        Shall I plan the next day too?
        Do you like to start early?
        Which stop do you look forward to most?
        """),
)
