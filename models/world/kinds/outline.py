"""Outlines of a talk, an essay or a report."""

from models.world.values import Kind, Topic, items, lines

FIRST = """
Opening: why we talk about {t} today | a short story about {t}
Background: the first days of {t} | what most people know about {t}
"""
LATER = """
The main idea: what we gain from {t} | the best side of {t}
Problems: what can go wrong with {t} | what people say against {t}
A look ahead: {t} in ten years | the next ten years
Closing: what to remember about {t} | a call to act
"""


def subject(name: str, table: str, *words: str) -> Topic:
    return Topic(name, items((FIRST + table + LATER).replace("{t}", name)), words=words)


SUBJECTS: tuple[Topic, ...] = (
    subject(
        "city parks",
        """
        Shade and clean air: how trees cool a street | fewer hot days
        Meeting places: where neighbours talk | games and picnics
        Who pays: the city and its people | a small price for a lot of green
        """,
        "parks",
        "park",
        "trees",
        "green",
    ),
    subject(
        "good sleep",
        """
        What the body does at night: rest and repair | how we dream
        Habits that help: a dark room and fixed hours | less light in the evening
        When sleep fails: stress and noise | what a doctor can do
        """,
        "sleep",
        "night",
        "rest",
    ),
    subject(
        "solar power",
        """
        From light to current: how a panel works | sunlight on a roof
        Storing the sun: batteries and water | what happens at night
        Jobs and money: who builds the panels | why prices fell
        """,
        "solar",
        "power",
        "sun",
        "panel",
    ),
    subject(
        "remote work",
        """
        A day at home: quiet hours and short calls | a desk by the window
        Trust in a team: clear goals and honest words | meeting in person
        Empty offices: what cities can do with them | new uses for old rooms
        """,
        "remote",
        "work",
        "team",
        "home",
    ),
    subject(
        "public libraries",
        """
        More than books: courses and quiet rooms | a warm place for all
        Libraries and schools: reading from an early age | homework after class
        New tools: films and games to borrow | books on a screen
        """,
        "libraries",
        "library",
        "books",
        "reading",
    ),
    subject(
        "honey bees",
        """
        Life in a hive: one queen and many workers | how bees dance
        Bees and our food: fruit needs visitors | fields full of flowers
        How to help them: plant wild flowers | no poison in the garden
        """,
        "bees",
        "honey",
        "hive",
        "flowers",
    ),
    subject(
        "recycling",
        """
        The way of a bottle: from the bin to a new glass | sorted by hand and by machine
        What goes wrong: mixed waste and dirty paper | too much wrapping
        Small steps at home: three bins in the kitchen | repair before you buy
        """,
        "recycling",
        "waste",
        "bins",
        "bottle",
    ),
    subject(
        "the history of tea",
        """
        First leaves: tea in old China | a drink for monks
        Tea at sea: ships and trade | how tea reached Europe
        A cup today: tea in every country | green and black leaves
        """,
        "tea",
        "leaves",
        "cup",
    ),
)

OUTLINE = Kind(
    name="outline",
    label="outlines",
    pattern=r"\b(outline|structure|table of contents)\b",
    noun="sections",
    ordered=True,
    joint=": ",
    topics={t.name: t for t in SUBJECTS},
    asks=lines("""
        Write an outline with {n} sections about {topic}.
        Make an outline on {topic} with {n} sections.
        I need an outline of {n} parts on {topic}.
        Can you outline {topic} in {n} sections?
        Please draft an outline about {topic} with {n} points.
        Help me outline {topic} in {n} parts.
        Give me an outline of {n} sections on {topic}.
        Could you write an outline about {topic} in {n} points?
        Draft an outline with {n} parts on {topic}.
        I have to speak about {topic} and need an outline with {n} sections.
        Outline {topic} in {n} steps.
        Write an outline about {topic}.
        Make me an outline on {topic}.
        How would you outline {topic} in {n} sections?
        Prepare an outline of {n} sections about {topic}.
        """),
    values={
        "form": ("talk", "speech", "report", "lesson"),
        "level": ("students", "children", "beginners", "experts"),
        "mention": ("costs", "an example", "a question round", "numbers", "an interview", "a picture"),
        "minutes": ("10", "15", "20"),
        "words": ("40", "50", "60", "70"),
        "question": ("",),
        "tip": ("",),
    },
    quals={"form": " for your {v}"},
    says={
        "form": lines("""
            The order suits a {v}.
            It has the right length for a {v}.
            """),
        "level": lines("""
            The words are chosen for {v}.
            It is written with {v} in mind.
            """),
        "minutes": lines("""
            All of it fits into {v} minutes.
            Plan about {v} minutes for the whole.
            """),
    },
    mentions={
        "costs": ("Say a word about the costs as well.", "Set the costs against what we gain."),
        "an example": ("Give an example in each part.", "Begin each part with an example."),
        "a question round": ("Leave time for a question round.", "A question round fits well at the end."),
        "numbers": ("Use a few numbers that people can check.", "Support each point with numbers."),
        "an interview": ("A short interview would make it lively.", "Quote from an interview in the middle."),
        "a picture": ("Show a picture at the start.", "A picture says a lot in the first part."),
    },
    intros=lines("""
        Here is an outline on {topic}{q}.
        This outline walks through {topic}{q}.
        I would arrange {topic} like this{q}.
        These {n} sections lead through {topic}{q}.
        You could tell the story of {topic} in {n} parts{q}.
        """),
    closings=lines("""
        Each part leads on to the next.
        Keep the first part short.
        You can change the order if you like.
        Spend most of the time in the middle.
        End on a thought that stays.
        """),
    tips=lines("""
        Tip: write the ending first.
        Tip: one clear sentence for each part is enough.
        Tip: read it aloud once before you begin.
        Tip: leave out what you can't explain simply.
        """),
    questions=lines("""
        Shall I turn the first part into full sentences?
        Who will listen to you?
        Would you like more detail in one of them?
        How long may it be?
        """),
)
