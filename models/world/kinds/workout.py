"""Workout plans for a part of the body."""

from models.world.values import Kind, Topic, items, lines

COMMON = items("""
jumping jacks: to warm up | at a steady pace
running on the spot: with high knees | to raise your pulse
a slow walk: to cool down | with relaxed shoulders
""")


def part(name: str, table: str, *words: str) -> Topic:
    return Topic(name, items(table) + COMMON, words=words)


PARTS: tuple[Topic, ...] = (
    part(
        "legs",
        """
        ten slow squats: with your back straight | down to a chair
        side lunges: eight on each side | with a short pause
        calf raises: on the edge of a step | slow on the way down
        wall sits: as long as you can hold | with your knees bent
        jump squats: soft on the landing | six at a time
        dumbbell step ups: ten on each leg | with light weights
        leg lifts: lying on your side | twelve on each leg
        a glute bridge: held for a few breaths | with your feet flat
        """,
        "legs",
        "leg",
        "knees",
    ),
    part(
        "arms",
        """
        push ups against a wall: ten in a row | with straight arms
        arm circles: small at first | in both directions
        chair dips: eight slow ones | with your elbows back
        dumbbell curls: with light weights | ten on each arm
        band pulls: across your chest | slow and steady
        a plank with shoulder taps: six on each side | without rocking
        shadow boxing: with loose fists | at your own pace
        overhead reaches: as high as you can | with a deep breath
        """,
        "arms",
        "arm",
        "shoulders",
    ),
    part(
        "back",
        """
        a cat stretch: on hands and knees | ten slow rounds
        a bird dog hold: eight on each side | with a flat back
        band rows: with your elbows close | twelve slow pulls
        a child pose: for five deep breaths | with long arms
        bridge lifts: ten slow ones | with your feet flat
        dumbbell rows: with light weights | eight on each side
        shoulder rolls: back and down | without any hurry
        a gentle twist: on both sides | sitting tall
        """,
        "back",
        "spine",
    ),
    part(
        "core",
        """
        a front plank: held for a few breaths | with a flat back
        dead bugs: eight on each side | slow and controlled
        bicycle crunches: ten on each side | without pulling your neck
        side planks: short holds on both sides | on your elbow
        leg raises: as slowly as you can | with your back down
        a kettlebell twist: with a light weight | ten in all
        mountain climbers: at a steady pace | with your hips low
        knee tucks: on the edge of a chair | eight slow ones
        """,
        "core",
        "belly",
        "middle",
    ),
    part(
        "whole body",
        """
        slow squats: ten in a row | with your arms in front
        push ups on your knees: six to eight | with a straight back
        walking lunges: across the room | with a tall chest
        a front plank: held for a few breaths | with your hips level
        step ups: on a low stair | ten on each leg
        burpees with a jump: five in a row | with soft knees
        dumbbell presses: with light weights | eight slow ones
        a full body stretch: lying on your back | from fingers to toes
        """,
        "body",
        "whole",
    ),
)

WORKOUT = Kind(
    name="workout",
    label="workout plans",
    pattern=r"\b(workout|work out|exercises?|training plan|fitness)\b",
    noun="exercises",
    topics={t.name: t for t in PARTS},
    asks=lines("""
        Write a workout plan with {n} exercises for my {topic}.
        Give me {n} exercises for my {topic}.
        Plan a workout of {n} exercises for the {topic}.
        I need {n} exercises for my {topic}.
        Can you suggest {n} exercises for the {topic}?
        Make a workout with {n} exercises for my {topic}.
        What {n} exercises train the {topic}?
        Please plan {n} exercises for my {topic}.
        Help me work out my {topic} with {n} exercises.
        I want to train my {topic}, so list {n} exercises.
        Could you write a short workout for my {topic}?
        Build me a workout with {n} exercises for the {topic}.
        Name {n} good exercises for my {topic}.
        I sit all day and need {n} exercises for my {topic}.
        Which {n} exercises are best for the {topic}?
        """),
    values={
        "minutes": ("10", "15", "20", "30"),
        "level": ("beginners", "seniors", "runners", "teenagers"),
        "avoid": ("jumping", "running", "equipment"),
        "mention": ("stretching", "breathing", "water", "music", "a towel", "balance"),
        "words": ("40", "50", "60", "70"),
        "question": ("",),
        "tip": ("",),
    },
    quals={"minutes": ", about {v} minutes in all"},
    says={
        "minutes": lines("""
            The whole round takes about {v} minutes.
            Plan {v} minutes for all of it.
            """),
        "level": lines("""
            The plan is made for {v}.
            It is gentle enough for {v}.
            """),
    },
    mentions={
        "stretching": ("Finish with some slow stretching.", "A little stretching at the end keeps you loose."),
        "breathing": ("Keep your breathing calm and even.", "Slow breathing helps between the rounds."),
        "water": ("Have a glass of water close by.", "Drink some water between the rounds."),
        "music": ("Put on music that you enjoy.", "Good music makes the time pass quickly."),
        "a towel": ("Keep a towel within reach.", "You may want a towel for the floor."),
        "balance": ("Hold on to a chair if your balance is poor.", "Watch your balance as you move."),
    },
    intros=lines("""
        Here is a workout for your {topic}{q}.
        This plan trains your {topic}{q}.
        Try these {n} exercises for your {topic}{q}.
        These {n} exercises will wake up your {topic}{q}.
        I would do this routine for the {topic}{q}.
        """),
    closings=lines("""
        Rest a little between the exercises.
        Stop if anything hurts.
        Repeat the round once if you feel strong.
        Do it three times a week.
        Go slowly and keep good form.
        """),
    tips=lines("""
        Tip: do it at the same hour each day.
        Tip: start slowly and add a little every week.
        Tip: write down how many you managed.
        Tip: a mirror helps you to check your form.
        """),
    questions=lines("""
        Would you like a longer version for the weekend?
        How often do you want to train?
        Shall I add a warm up?
        Does any of these feel too hard?
        """),
)
