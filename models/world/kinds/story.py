"""Short stories about a hero in a place."""

from models.world.values import Kind, Topic, lines


def hero(name: str, table: str, *words: str) -> Topic:
    return Topic(name, sentences=lines(table), words=words)


HEROES: tuple[Topic, ...] = (
    hero(
        "a fox",
        """
        There was once a young fox who could not sleep.
        The fox knew every smell of the season, but this one was new.
        An owl told the fox to be patient and to listen.
        So the fox followed the smell on quiet paws.
        By dawn the fox had learned to share what it found.
        """,
        "fox",
    ),
    hero(
        "a lighthouse keeper",
        """
        An old lighthouse keeper counted the ships each night.
        One evening the lamp went dark and a storm came up.
        The keeper climbed the stairs with a heart that beat like a drum.
        Far out, a small boat was looking for the way.
        The keeper sang into the wind until the boat heard it.
        """,
        "lighthouse",
        "keeper",
    ),
    hero(
        "a young baker",
        """
        A young baker opened the shop before the sun came up.
        One morning the dough would not rise, whatever the baker tried.
        A stranger at the door asked for a single slice of bread.
        The baker gave away the last loaf and felt lighter.
        The next day there was a long line in front of the shop.
        """,
        "baker",
        "bread",
    ),
    hero(
        "a small robot",
        """
        A small robot woke up in a room full of dust.
        Its battery was low, but the robot wanted to see the sky.
        Step by step, the robot rolled past silent machines.
        A child found the robot and wiped its glass eye.
        Together they watched the first star come out.
        """,
        "robot",
    ),
    hero(
        "an old sailor",
        """
        An old sailor had not been at sea for many years.
        Every night the sailor dreamed of one last journey.
        The boat was small and the sails were full of holes.
        The sailor mended them, stitch by stitch, until spring.
        When the wind turned, the sailor was ready.
        """,
        "sailor",
    ),
    hero(
        "a grey cat",
        """
        A grey cat lived on the roofs and belonged to nobody.
        The cat came down only when it rained.
        One day the cat heard somebody crying behind a door.
        The cat sat down and waited, which is what cats do best.
        From then on, a bowl of milk stood at that door.
        """,
        "cat",
    ),
    hero(
        "a shy dragon",
        """
        A shy dragon hid from everyone because its fire was so small.
        People came with torches, but nobody could find the dragon.
        When winter came, all the torches went out.
        The dragon took a deep breath and lit them one by one.
        Nobody was afraid of the dragon after that.
        """,
        "dragon",
    ),
    hero(
        "a tired postman",
        """
        A tired postman had one parcel left in his bag.
        There was no name on it, so the postman asked at every door.
        The postman walked until his shoes were thin.
        At the last house a little girl opened the door.
        The postman knew at once that the parcel was for her.
        """,
        "postman",
    ),
)

STORY = Kind(
    name="story",
    label="short stories",
    pattern=r"\b(story|tale|stories)\b",
    listed=False,
    topics={t.name: t for t in HEROES},
    asks=lines("""
        Write a short story about {topic}.
        Tell me a story about {topic}.
        Please write a story about {topic}.
        I would like a short story about {topic}.
        Can you tell a story about {topic}?
        Make up a story about {topic}.
        Could you write a little story about {topic}?
        Invent a story about {topic}.
        Write a bedtime story about {topic}.
        I need a tale about {topic}.
        My daughter wants a story about {topic}.
        Give me a short tale about {topic}.
        Would you tell me a tale about {topic}?
        Write a very short story about {topic}.
        It is late and we want a story about {topic}.
        """),
    values={
        "place": ("in a harbour", "in a forest", "in a village", "in a big city", "on an island", "in the mountains"),
        "name": ("Mira", "Oskar", "Lina", "Pablo", "Wanda", "Timo"),
        "ending": ("happy", "sad", "surprising"),
        "mention": ("a lantern", "a key", "a letter", "a bell", "a map", "the moon"),
        "words": ("50", "60", "70"),
        "question": ("",),
    },
    says={
        "place": lines("""
            All this happened {v}, a long time ago.
            It was a cold night {v}.
            Life {v} was quiet in those days.
            """),
        "name": lines("""
            Everybody knew the hero by the name of {v}.
            The name of our hero was {v}.
            """),
    },
    mentions={
        "a lantern": ("A lantern stood by the road and burned all night.", "In the dark there shone a lantern."),
        "a key": ("Under a stone lay a key.", "There was a key in the grass, old and cold."),
        "a letter": ("The wind brought a letter without a name.", "A letter lay on the step."),
        "a bell": ("Far away rang a bell.", "A bell called through the fog."),
        "a map": ("On the wall hung a map with one red cross.", "A map showed the way."),
        "the moon": ("Above it all hung the moon.", "Only the moon was watching."),
    },
    closings=lines("""
        People still talk about it today.
        And that is how it was.
        The rest of the night was still.
        Nothing was quite the same after that.
        """),
    questions=lines("""
        And what would you have done?
        Do you know how it went on?
        Have you ever felt like that?
        Who knows what the next day will bring?
        """),
)

ENDINGS = {
    "happy": lines("""
        In the end they laughed and danced until morning.
        And so they lived happily from that day on.
        Everyone smiled, and the joy lasted all winter.
        """),
    "sad": lines("""
        But nobody came back, and many tears were shed.
        It was a lonely road home, and the goodbye hurt for years.
        In the end there was only a sad and empty room.
        """),
    "surprising": lines("""
        Then, to everyone's surprise, it all turned out to be a dream.
        Nobody had expected it, but the whole thing had been a game.
        And suddenly it was clear that nothing had ever been lost.
        """),
}
