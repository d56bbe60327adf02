"""Short emails about everyday matters."""

from models.world.values import Kind, Topic, lines


def matter(name: str, table: str, *words: str) -> Topic:
    return Topic(name, sentences=lines(table), words=words)


MATTERS: tuple[Topic, ...] = (
    matter(
        "moving our meeting",
        """
        I would like to move our meeting to another time.
        Something else has come up at the old hour of our meeting.
        A later meeting would give us all more time to prepare.
        I am sorry for the short notice.
        The room is free on most afternoons.
        """,
        "meeting",
    ),
    matter(
        "a day off",
        """
        I would like to ask for a day off.
        My family is coming to visit and I want to be at home on that day.
        A colleague has agreed to take my calls while I am off.
        All my open work will be done before I leave.
        I will be back the next morning.
        """,
        "day",
        "off",
    ),
    matter(
        "the yearly report",
        """
        The yearly report is now ready for you to read.
        I have checked all pages of the report twice.
        The second part of the report still needs your comments.
        It would be good to send it to the printer soon.
        I can walk you through it on the phone.
        """,
        "report",
    ),
    matter(
        "an unpaid invoice",
        """
        I am writing about an invoice that is still unpaid.
        We sent you the invoice a month ago.
        It may simply have been lost in the post.
        I have added a copy of the invoice to this message.
        We would be glad to receive the money by the end of the month.
        """,
        "invoice",
    ),
    matter(
        "a broken heater",
        """
        The heater in our flat has been broken since last week.
        It makes a loud noise and then goes cold.
        We have a small child at home and the nights are getting colder.
        Please send somebody to look at the heater soon.
        I am at home every morning to open the door.
        """,
        "heater",
    ),
    matter(
        "a lost parcel",
        """
        I am still waiting for a parcel that was sent two weeks ago.
        The tracking page says that the parcel was delivered, but nothing came.
        I have asked all the neighbours already.
        Please find out where the parcel is.
        If it is lost, I would like my money back.
        """,
        "parcel",
    ),
    matter(
        "joining the evening course",
        """
        I would like to join your evening course this autumn.
        A friend told me good things about the course.
        I have some practice, but I would call myself a beginner.
        Please tell me whether there is a free place in the course.
        I can pay as soon as I hear from you.
        """,
        "course",
    ),
    matter(
        "a shared car",
        """
        I would like to share a car to work with you.
        We live close to each other and start at the same hour.
        A shared car would save us both some money.
        I could drive in the first week and you in the next.
        Tell me what you think of it.
        """,
        "car",
    ),
)

EMAIL = Kind(
    name="email",
    label="emails",
    pattern=r"\b(e-?mails?|mail to|message to)\b",
    listed=False,
    topics={t.name: t for t in MATTERS},
    asks=lines("""
        Write an email about {topic}.
        Please write an email about {topic}.
        Draft an email about {topic}.
        Can you write a short email about {topic}?
        I need an email about {topic}.
        Help me write an email about {topic}.
        Could you draft an email about {topic}?
        Compose an email about {topic}.
        I want to send an email about {topic}.
        Write me a short email about {topic}.
        I have to write an email about {topic}.
        Please help me with an email about {topic}.
        Would you write an email about {topic} for me?
        Put together an email about {topic}.
        I never know how to start an email about {topic}, so write it for me.
        """),
    values={
        "to": ("Anna", "Mr Lee", "Mrs Novak", "David", "Dr Cole", "Priya", "Mr Silva", "Julia"),
        "sign": ("Tom", "Maria", "Sam", "Elena", "Jonas", "Nora"),
        "tone": ("formal", "friendly"),
        "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
        "mention": ("the budget", "the deadline", "the weather", "a phone call", "the schedule", "the contract"),
        "words": ("40", "50", "60", "70"),
        "question": ("",),
    },
    says={
        "day": lines("""
            I hope that {v} suits you.
            Please let me know by {v}.
            I am free on {v} if you want to talk.
            """),
    },
    mentions={
        "the budget": ("The budget stays the same.", "I will send you the budget in a separate message."),
        "the deadline": ("The deadline is close, so every day counts.", "I have not forgotten the deadline."),
        "the weather": ("I hope the weather is kind where you are.", "The weather here has been wild this week."),
        "a phone call": ("A phone call would be fine as well.", "We could settle it in a phone call."),
        "the schedule": ("I have looked at the schedule with care.", "The schedule leaves some room for it."),
        "the contract": ("The contract says a little about this.", "I have the contract in front of me."),
    },
    closings=lines("""
        Thank you for your time.
        I look forward to your answer.
        Thank you very much in advance.
        I am grateful for your help.
        """),
    questions=lines("""
        Would that be possible for you?
        May I count on your answer this week?
        What do you think about it?
        Is there anything else that you need from me?
        """),
)
