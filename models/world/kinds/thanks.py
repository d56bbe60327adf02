"""Thank-you notes."""

from models.world.values import Kind, Topic, lines


def favour(name: str, table: str, *words: str) -> Topic:
    return Topic(name, sentences=lines(table), words=words)


FAVOURS: tuple[Topic, ...] = (
    favour(
        "a warm scarf",
        """
        Thank you so much for the warm scarf.
        The scarf came just in time for the first cold morning.
        Its colour is exactly the one that I would have chosen.
        I have worn the scarf every day since then.
        The wool is so soft that my cat wants it too.
        """,
        "scarf",
    ),
    favour(
        "a lovely dinner",
        """
        Thank you very much for the lovely dinner.
        We still talk about the soup and the long evening.
        It has been a while since a dinner made us laugh so much.
        Your table is the best place in town.
        Next time it is our turn to cook.
        """,
        "dinner",
        "soup",
    ),
    favour(
        "help with the move",
        """
        Thank you for all your help with the move.
        Without you the heavy boxes would still be on the stairs.
        You carried the piano as if it were a chair.
        After the move we were tired, but never in a bad mood.
        The new kitchen is already full of good smells.
        """,
        "move",
        "boxes",
    ),
    favour(
        "the flowers",
        """
        Thank you for the beautiful flowers.
        The flowers stand on the table by the window.
        They made a grey week bright.
        Everyone who comes in asks where they are from.
        I will press one of the flowers in a book.
        """,
        "flowers",
    ),
    favour(
        "a good book",
        """
        Thank you for the good book that you gave me.
        I opened the book in the evening and closed it at sunrise.
        The ending took me completely by surprise.
        I know somebody who will love this book as well.
        You always know what I should read next.
        """,
        "book",
        "read",
    ),
    favour(
        "a ride to the airport",
        """
        Thank you for the ride to the airport.
        You got up in the middle of the night for it.
        Thanks to you I reached the airport with time to spare.
        The songs in your car were better than any coffee.
        I will bring you something from the journey.
        """,
        "ride",
        "airport",
    ),
    favour(
        "watering my plants",
        """
        Thank you for watering my plants while I was away.
        All the plants are greener than before.
        Even the old fern has three new leaves.
        I was calm on my whole journey because of you.
        Please take some tomatoes from the balcony.
        """,
        "plants",
        "watering",
    ),
)

THANKS = Kind(
    name="thanks",
    label="thank-you notes",
    pattern=r"\b(thank[- ]you (?:note|card|letter|message|lines)|note of thanks|to thank|thanks for)\b",
    listed=False,
    topics={t.name: t for t in FAVOURS},
    asks=lines("""
        Write a thank-you note for {topic}.
        Please write a thank-you note for {topic}.
        I need a thank-you note for {topic}.
        Can you write a thank-you card for {topic}?
        Draft a thank-you letter for {topic}.
        Help me write a thank-you note for {topic}.
        Could you write a short thank-you note for {topic}?
        I want to thank somebody for {topic}.
        Compose a thank-you message for {topic}.
        Make a small thank-you card for {topic}.
        Write a few thank-you lines for {topic}.
        I would like to thank a person for {topic}.
        Would you write a note of thanks for {topic}?
        Give me a thank-you note for {topic}.
        Words fail me, so write a thank-you note for {topic}.
        """),
    values={
        "to": ("Anna", "Mr Lee", "Mrs Novak", "David", "Dr Cole", "Priya", "Mr Silva", "Julia"),
        "sign": ("Tom", "Maria", "Sam", "Elena", "Jonas", "Nora"),
        "tone": ("formal", "friendly"),
        "mention": ("the weekend", "the holidays", "a photo", "next summer", "cake", "old times"),
        "words": ("40", "50", "60", "70"),
        "question": ("",),
    },
    says={},
    mentions={
        "the weekend": ("I hope the weekend is kind to you.", "The weekend was all the better for it."),
        "the holidays": ("I hope the holidays are kind to you.", "We will talk more in the holidays."),
        "a photo": ("I have put a photo into the envelope.", "With this note comes a photo for you."),
        "next summer": ("I hope to see you next summer.", "Perhaps we can meet next summer."),
        "cake": ("There will be cake when you come by.", "I owe you at least one cake."),
        "old times": ("It reminded me of old times.", "Let us talk about old times soon."),
    },
    closings=lines("""
        It meant a lot to me.
        I will not forget it.
        You are a true friend.
        I am lucky to know you.
        """),
    questions=lines("""
        When can I see you again?
        How can I ever make up for it?
        May I return the favour soon?
        What have you been doing these days?
        """),
)
