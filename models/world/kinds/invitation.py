"""Invitations to a party."""

from models.world.values import Kind, Topic, lines


def event(name: str, table: str, *words: str) -> Topic:
    return Topic(name, sentences=lines(table), words=words)


EVENTS: tuple[Topic, ...] = (
    event(
        "a birthday party",
        """
        There is a birthday to celebrate, and you are invited.
        Another year has gone by, and that calls for a birthday party.
        There will be a big cake with far too many candles.
        Please bring nothing but your good mood to the party.
        We will sing the birthday song, whether it sounds right or not.
        """,
        "birthday",
    ),
    event(
        "a garden party",
        """
        The garden is in bloom, and it is time for a party.
        You are invited to our garden party this summer.
        There will be cold drinks under the apple tree.
        If it rains, the garden party moves into the kitchen.
        Bring a blanket if you like to sit in the grass.
        """,
        "garden",
    ),
    event(
        "a housewarming",
        """
        The boxes are unpacked, so please come to our housewarming.
        We have a new home and want to share it with you.
        The housewarming starts with a short tour of the rooms.
        Bread and salt are welcome, but you are more so.
        There are still too few chairs, so we may stand.
        """,
        "housewarming",
        "home",
    ),
    event(
        "a picnic",
        """
        The days are warm, and we are planning a picnic.
        You are invited to a picnic under the trees.
        Everyone brings one thing to eat, and we share it all.
        There will be blankets for all who come to the picnic.
        After the food there is time for a nap in the sun.
        """,
        "picnic",
    ),
    event(
        "a game night",
        """
        We invite you to a game night at the long table.
        Old board games are waiting to be played again.
        The winner of the game night may choose the next game.
        There will be soup and bread between the rounds.
        No one has to know the rules in advance.
        """,
        "game",
        "games",
    ),
    event(
        "a farewell dinner",
        """
        Before the big move there will be a farewell dinner.
        You are invited to one last long evening at our table.
        The farewell dinner has three courses and many stories.
        A goodbye is easier with good food.
        Please bring a memory that you would like to tell.
        """,
        "farewell",
        "goodbye",
    ),
)

INVITATION = Kind(
    name="invitation",
    label="invitations",
    pattern=r"\b(invit\w+)\b",
    listed=False,
    topics={t.name: t for t in EVENTS},
    asks=lines("""
        Write an invitation to {topic}.
        Please write an invitation to {topic}.
        I need an invitation to {topic}.
        Can you write an invitation to {topic}?
        Draft an invitation to {topic}.
        Help me write an invitation to {topic}.
        Could you draft an invitation to {topic}?
        Make a short invitation to {topic}.
        I want to invite friends to {topic}.
        Compose an invitation to {topic}.
        We would like to invite our neighbours to {topic}.
        Write a few lines that invite people to {topic}.
        How do I invite everyone to {topic}?
        Would you write an invitation to {topic} for us?
        Put together an invitation to {topic}.
        """),
    values={
        "day": ("Friday", "Saturday", "Sunday"),
        "time": ("noon", "3 pm", "5 pm", "6 pm", "7 pm", "8 pm"),
        "place": ("in the park", "at our house", "by the lake", "on the roof", "at the old mill"),
        "sign": ("Tom", "Maria", "Sam", "Elena", "Jonas", "Nora"),
        "tone": ("formal", "friendly"),
        "mention": ("music", "a costume", "children", "a reply", "the dog", "parking"),
        "words": ("40", "50", "60", "70"),
        "question": ("",),
    },
    says={
        "day": lines("""
            Keep {v} free for us.
            We meet on {v}.
            The day is {v}.
            """),
        "time": lines("""
            It begins at {v}.
            The door opens at {v}.
            We start at {v} and end when we are tired.
            """),
        "place": lines("""
            You will find us {v}.
            All of it takes place {v}.
            """),
    },
    mentions={
        "music": ("There will be music until late.", "Friends of ours will play music."),
        "a costume": ("Come in a costume if you dare.", "A costume is welcome, but not a must."),
        "children": ("Bring your children along.", "There is a corner with toys for children."),
        "a reply": ("Please send a reply by the end of the week.", "A reply would help us to plan."),
        "the dog": ("You may bring the dog too.", "Even the dog is welcome."),
        "parking": ("There is free parking behind the church.", "We have parking for five cars."),
    },
    closings=lines("""
        We look forward to seeing you.
        It would not be the same without you.
        Your company is all that we need.
        We hope that you can come.
        """),
    questions=lines("""
        Will you join us?
        Can we count on you?
        May we set a place for you?
        What would you like to bring?
        """),
)
