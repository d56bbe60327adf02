"""Packing lists for a trip."""

from models.world.values import Kind, Topic, items, lines

COMMON = items("""
a water bottle: filled before you leave | light and easy to refill
a small first aid kit: with plasters and tablets | kept at the top of the bag
comfortable shoes: already worn in | good for long days
a phone charger: with a spare cable | packed last
a paperback novel: for quiet hours | light and not too long
a bottle of shampoo: in a travel size | closed tightly
""")


def trip(name: str, table: str, *words: str) -> Topic:
    return Topic(name, items(table) + COMMON, words=words)


TRIPS: tuple[Topic, ...] = (
    trip(
        "the beach",
        """
        a swimsuit: with a dry spare | rolled up small
        sunscreen: with a high factor | in a sealed bag
        a big towel: that dries fast | for the sand
        a sun hat: with a wide brim | to keep your face cool
        light sandals: easy to rinse | for hot sand
        sunglasses: in a hard case | with good lenses
        a waterproof camera: for pictures in the sea | fully charged
        a beach bag: with room for everything | made of canvas
        """,
        "beach",
        "sea",
        "sand",
    ),
    trip(
        "the mountains",
        """
        hiking boots: with strong soles | worn in at home
        a warm jacket: for cold evenings | that keeps the wind out
        a rain cover: for your bag | folded flat
        wool socks: two pairs at least | soft and warm
        a walking stick: for steep paths | that folds
        a headlamp: with fresh batteries | for early starts
        trail snacks: dried fruit and crackers | for the long climb
        a trail map: in a plastic sleeve | with the route marked
        """,
        "mountains",
        "mountain",
        "trail",
        "climb",
    ),
    trip(
        "a city break",
        """
        a day bag: with a zip | small and light
        a light jacket: for cool evenings | that goes with everything
        a city map: with the sights marked | in case you get lost
        a small umbrella: for sudden rain | that fits in your bag
        a smart shirt: for a nice dinner | folded with care
        a guidebook: with the best streets | marked with notes
        headphones: for the train | in their case
        a travel card: for the bus and the tram | bought in advance
        """,
        "city",
        "streets",
        "sights",
    ),
    trip(
        "a camping trip",
        """
        a tent: with all its pegs | checked at home
        a sleeping bag: warm enough for the night | rolled up tight
        a camp stove: with enough gas | packed away from clothes
        matches: in a dry box | for the fire
        a torch: with spare batteries | within easy reach
        a pocket knife: kept safe in its cover | useful every day
        a bottle of insect lotion: for the evenings | closed tightly
        warm socks: for the night | packed in a dry bag
        """,
        "camping",
        "camp",
        "tent",
        "fire",
    ),
    trip(
        "a business trip",
        """
        a smart suit: in a cover | freshly pressed
        a laptop: with its cable | fully charged
        a notebook and a pen: for the meeting | within easy reach
        business cards: in a small case | enough for everyone
        a clean shirt for each day: folded with care | that needs no iron
        polished shoes: in a cloth bag | comfortable enough to walk in
        printed papers: in a thin folder | sorted by meeting
        a travel iron: small and light | just in case
        """,
        "business",
        "meeting",
        "work",
        "suit",
    ),
    trip(
        "a ski weekend",
        """
        a ski jacket: warm and dry | with deep pockets
        thick gloves: with a spare pair | that keep the snow out
        goggles: in a soft cover | with clear lenses
        warm base layers: two sets | soft and dry
        a wool hat: that covers your ears | for the slopes
        lip balm: for wind and sun | in your pocket
        ski socks: long and warm | one pair for each day
        an action camera: for the slopes | fully charged
        """,
        "ski",
        "snow",
        "slopes",
    ),
)

PACKING = Kind(
    name="packing",
    label="packing lists",
    pattern=r"\b(pack|packing|packed|suitcase|bring (?:on|to)|luggage)\b",
    noun="things",
    topics={t.name: t for t in TRIPS},
    asks=lines("""
        Write a packing list with {n} things for {topic}.
        Make a packing list of {n} items for {topic}.
        What {n} things should I pack for {topic}?
        I need a packing list with {n} items for {topic}.
        Help me pack {n} things for {topic}.
        Can you make a packing list of {n} things for {topic}?
        Give me {n} things to pack for {topic}.
        Please list {n} items to pack for {topic}.
        I am leaving tomorrow and must pack {n} things for {topic}.
        Which {n} things belong in my suitcase for {topic}?
        Tell me {n} things to pack for {topic}.
        Could you write a packing list for {topic}?
        What should I pack for {topic}?
        My suitcase is empty, so list {n} things for {topic}.
        Name {n} items to pack for {topic}.
        """),
    values={
        "people": ("two", "three", "four"),
        "days": ("two", "three", "four", "five"),
        "avoid": ("electronics", "liquids", "books"),
        "mention": ("snacks", "a raincoat", "a scarf", "passports", "soap", "a pillow"),
        "words": ("40", "50", "60", "70"),
        "question": ("",),
        "tip": ("",),
    },
    quals={"people": " for {v} people"},
    says={
        "people": lines("""
            The list works for {v} people.
            Pack enough of everything for {v} people.
            """),
        "days": lines("""
            This is enough for {v} days.
            It will last you {v} days.
            """),
    },
    mentions={
        "snacks": ("snacks for the road: in a small box", "a bag of snacks: for the journey"),
        "a raincoat": ("a raincoat: in case the weather turns", "a raincoat: folded on top"),
        "a scarf": ("a scarf: for cool mornings", "a scarf: soft and useful"),
        "passports": ("passports: in a safe pocket", "passports and tickets: kept together"),
        "soap": ("a bar of soap: in a small tin", "soap: wrapped in paper"),
        "a pillow": ("a pillow: for the journey", "a pillow: small enough to carry"),
    },
    mention_items=True,
    intros=lines("""
        Here is what I would pack for {topic}{q}.
        This list should cover {topic}{q}.
        For {topic}{q}, I would take these things.
        Take these {n} things with you for {topic}{q}.
        Pack these {n} things for {topic}{q}.
        """),
    closings=lines("""
        Everything fits into one bag.
        Put the heavy things at the bottom.
        Check the weather before you close the bag.
        You can leave the rest at home.
        Weigh the bag before you go.
        """),
    tips=lines("""
        Tip: roll your clothes to save space.
        Tip: keep what you need first on top.
        Tip: leave a little room for the way back.
        Tip: tick off each thing as you pack it.
        """),
    questions=lines("""
        Is there anything you always forget?
        Shall I add something for the journey?
        Will you carry one bag or two?
        Do you expect any rain?
        """),
)
