"""Gift ideas for somebody with a hobby."""

from models.world.values import Kind, Topic, items, lines

COMMON = items("""
a box of fine chocolates: tied with a bow | from a small shop
a soft wool scarf: in a warm colour | that goes with everything
a small lamp: with a warm light | for quiet evenings
""")


def hobby(name: str, table: str, *words: str) -> Topic:
    return Topic(name, items(table) + COMMON, words=words)


HOBBIES: tuple[Topic, ...] = (
    hobby(
        "gardening",
        """
        a set of seeds: for herbs and flowers | sorted by season
        strong garden gloves: that keep hands dry | in a bright colour
        a small watering can: made of metal | for the window sill
        a book about roses: with fine drawings | easy to follow
        a plant pot: painted by hand | with a deep plate
        a jar of garden honey: from a local farm | sweet and golden
        a soil meter: that shows when to water | small and simple
        """,
        "garden",
        "gardening",
        "plants",
    ),
    hobby(
        "cooking",
        """
        a good kitchen knife: in a wooden box | sharp and light
        a set of spices: from around the world | in small tins
        a cotton apron: with deep pockets | easy to wash
        a book of soups: for cold evenings | with many pictures
        a digital timer: with a clear sound | for busy days
        a heavy pan: that lasts for years | good for any stove
        a wooden board: made of oak | for bread and cheese
        """,
        "kitchen",
        "cooking",
        "cook",
    ),
    hobby(
        "reading",
        """
        a new novel: by a writer from far away | wrapped in brown paper
        a reading light: that clips to a page | for late nights
        a set of bookmarks: made of leather | in three colours
        a tea sampler: for long chapters | with ten kinds
        warm reading socks: soft and thick | for the sofa
        a voucher for a bookshop: so that they can choose | in a nice envelope
        a book stand: for the table | made of wood
        """,
        "reading",
        "read",
        "book",
        "books",
    ),
    hobby(
        "music",
        """
        concert tickets: for a band nearby | for two people
        a small speaker: with a clear sound | easy to carry
        a record of old songs: in a fine sleeve | full of good tunes
        a set of guitar strings: for fresh sound | in a small box
        a book about jazz: with many stories | rich in pictures
        good headphones: light on the ears | with a long cable
        a shirt with notes on it: soft and funny | in their size
        """,
        "music",
        "songs",
        "song",
    ),
    hobby(
        "hiking",
        """
        warm wool socks: for long walks | that dry fast
        a steel flask: that keeps tea hot | with a cup
        a trail guide book: for the region | with clear maps
        a step tracker: for the wrist | light and simple
        a bag of trail cookies: baked at home | with oats
        a folding stick: for steep paths | strong and light
        a small compass: in a brass case | that points the way
        """,
        "hiking",
        "trail",
        "walks",
        "paths",
    ),
    hobby(
        "painting",
        """
        a set of brushes: in three sizes | in a roll of cloth
        a box of watercolours: with fresh colours | small enough to carry
        a pad of thick paper: for wet colours | bound at the side
        a book about light: by a painter | with many examples
        a painting apron: with a deep pocket | easy to wash
        a museum voucher: for a quiet day | in a nice envelope
        a table lamp: with clear white light | for evening work
        """,
        "painting",
        "paint",
        "colours",
    ),
    hobby(
        "cycling",
        """
        a bright bike light: that charges fast | for dark roads
        a repair kit: in a small bag | with all the tools
        padded gloves: for long rides | in their size
        a map of bike paths: for the whole region | easy to fold
        a steel bottle: that fits the frame | light and strong
        energy cookies: with oats and fruit | baked at home
        a book about great rides: with fine pictures | for rainy days
        """,
        "cycling",
        "bike",
        "rides",
    ),
)

GIFTS = Kind(
    name="gifts",
    label="gift ideas",
    pattern=r"\b(gifts?|presents?)\b",
    noun="gifts",
    topics={t.name: t for t in HOBBIES},
    asks=lines("""
        Give me {n} gift ideas for someone who loves {topic}.
        I need {n} gifts for a person who likes {topic}.
        Suggest {n} gifts for a fan of {topic}.
        What are {n} good presents for someone who loves {topic}?
        Can you think of {n} presents for someone who enjoys {topic}?
        Help me find {n} gifts for a lover of {topic}.
        Please suggest {n} presents for someone who is into {topic}.
        List {n} gifts that fit a love of {topic}.
        I am looking for {n} gifts that have to do with {topic}.
        Any gift ideas for someone who loves {topic}?
        Name {n} presents for a person who enjoys {topic}.
        Could you list {n} gift ideas around {topic}?
        Which {n} gifts would please someone who likes {topic}?
        Find {n} presents for someone who is mad about {topic}.
        I have no idea what to give, so list {n} gifts for {topic}.
        """),
    values={
        "recipient": ("sister", "brother", "mother", "father", "boss", "neighbour", "aunt", "uncle", "teacher"),
        "budget": ("20", "30", "50", "80"),
        "avoid": ("food", "books", "clothes", "gadgets"),
        "mention": ("a card", "a ribbon", "a photo", "a letter", "flowers"),
        "words": ("40", "50", "60", "70"),
        "question": ("",),
        "tip": ("",),
    },
    quals={"budget": ", all under {v} dollars"},
    says={
        "recipient": lines("""
            Your {v} will surely smile.
            I think your {v} would like any of them.
            """),
        "budget": lines("""
            Each of them costs less than {v} dollars.
            You can find all of them for under {v} dollars.
            """),
    },
    mentions={
        "a card": ("Add a card with a few kind words.", "A card written by hand makes it personal."),
        "a ribbon": ("Tie it up with a ribbon.", "A ribbon makes the parcel look festive."),
        "a photo": ("Slip a photo of you both into the parcel.", "A photo of a good day goes well with it."),
        "a letter": ("A letter makes the gift complete.", "Put a letter on top of the parcel."),
        "flowers": ("Bring flowers along with it.", "Fresh flowers go well with any of these."),
    },
    intros=lines("""
        Here are {n} ideas for someone who loves {topic}{q}.
        These {n} gifts fit {topic} well{q}.
        For someone who enjoys {topic}, I would choose these{q}.
        I found {n} presents that go well with {topic}{q}.
        Think about these {n} gifts for {topic}{q}.
        """),
    closings=lines("""
        Any of these will show that you thought about it.
        They are easy to find and easy to wrap.
        Two small things can make one fine parcel.
        Choose the one that feels right.
        Keep the receipt just in case.
        """),
    tips=lines("""
        Tip: wrap it in plain paper and write the name by hand.
        Tip: ask a friend which one is missing at home.
        Tip: order early so that it arrives in time.
        Tip: small gifts feel bigger in a nice box.
        """),
    questions=lines("""
        Which one do you like best?
        Is there a special day for it?
        Shall I write a few words to go with it?
        Would you like ideas that are homemade?
        """),
)
