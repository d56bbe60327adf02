"""Meal plans: dinners, lunches or breakfasts."""

from models.world.values import Kind, Topic, items, lines

DINNERS = items("""
lentil soup with carrots: simmered until soft | served with warm bread
baked potatoes with beans: topped with a spoon of yogurt | crisp on the outside
rice with peas and mint: finished with lemon | cooked in one pot
tomato pasta with basil: with a little garlic | ready before the table is set
mushroom risotto: stirred slowly with stock | rich and creamy
vegetable curry with chickpeas: served over rice | gently spiced
roast chicken with potatoes: with rosemary and lemon | golden and juicy
beef stew with carrots: left to simmer for an hour | served with bread
baked salmon with spinach: with a squeeze of lemon | on a bed of greens
fish tacos with cabbage: with lime and coriander | fresh and light
cheese omelette with salad: with fresh herbs | quick and filling
spinach and feta pie: baked until golden | served with a green salad
noodles with peanuts and broccoli: in a light soy sauce | tossed in a hot pan
green beans with almonds and rice: with a spoon of butter | simple but special
black bean chili: with a pinch of cumin | even better the next day
stuffed peppers with rice: baked with tomato sauce | soft and sweet
pumpkin soup with ginger: blended until smooth | served with toast
turkey burgers with salad: in toasted buns | with sliced tomatoes
""")
LUNCHES = items("""
hummus wrap with cucumber: rolled up tight | easy to carry
tomato soup with toast: hot and simple | with a few basil leaves
tuna salad with beans: dressed with lemon | ready in minutes
chicken sandwich with lettuce: on dark bread | with a thin layer of mustard
rice bowl with edamame: with a soy dressing | good hot or cold
potato salad with chives: with a light dressing | made the night before
egg salad on rye bread: with a little mustard | with crisp lettuce
cheese and tomato toast: grilled until golden | warm and crunchy
lentil salad with carrots: with parsley and lemon | full of colour
couscous with roasted peppers: with a spoon of yogurt | soft and smoky
walnut and apple salad: with a honey dressing | sweet and crunchy
bean and corn burrito: wrapped in foil | with a mild salsa
ham and pea pasta: served cold | with a spoon of cream
spinach soup with potatoes: blended until smooth | kept warm in a flask
""")
BREAKFASTS = items("""
oats with banana: cooked in milk | with a pinch of cinnamon
yogurt with berries: with a spoon of honey | cool and fresh
toast with avocado: with lemon and pepper | on dark bread
scrambled eggs on toast: soft and warm | with chopped chives
apple pancakes: dusted with cinnamon | small and fluffy
granola with almonds: with cold milk | crunchy and sweet
fruit salad with mint: with a little lime | cut small
cheese on rye bread: with sliced cucumber | simple and quick
bacon and tomato roll: hot from the pan | on a soft bun
peanut butter toast with banana: on brown bread | sweet and salty
smoked salmon on a bagel: with dill | with thin slices of lemon
rice pudding with berries: warm and creamy | made the night before
spinach smoothie: with apple and ginger | blended until smooth
baked beans on toast: warm and filling | with black pepper
""")

MEAL = Kind(
    name="meal",
    label="meal plans",
    pattern=r"\b(dinners?|lunch(es)?|breakfasts?|meals?|meal plan)\b",
    noun="meals",
    topics={
        "dinners": Topic("dinners", DINNERS, words=("dinner", "dinners", "evening")),
        "lunches": Topic("lunches", LUNCHES, words=("lunch", "lunches", "midday")),
        "breakfasts": Topic("breakfasts", BREAKFASTS, words=("breakfast", "breakfasts", "morning")),
    },
    asks=lines("""
        Plan {n} {topic}.
        Please plan {n} {topic}.
        Can you plan {n} {topic}?
        I need ideas for {n} {topic}.
        Give me {n} {topic}.
        Suggest {n} {topic}.
        Could you suggest {n} {topic}?
        What are {n} {topic} I could make?
        Help me plan {n} {topic} this week.
        I want to cook {n} {topic}.
        List {n} easy {topic}.
        Make a meal plan with {n} {topic}.
        I am out of ideas, so give me {n} {topic}.
        We need {n} simple {topic} for the week.
        Plan some {topic}.
        Could you write a plan for some {topic}?
        Which {n} {topic} would you make?
        Make me a list of {n} {topic}.
        """),
    values={
        "people": ("two", "three", "four", "six"),
        "avoid": ("nuts", "meat", "fish", "cheese", "eggs"),
        "mention": ("rice", "beans", "potatoes", "spinach", "lemon", "carrots", "berries", "tomatoes"),
        "minutes": ("15", "20", "30"),
        "words": ("40", "50", "60", "70"),
        "question": ("",),
        "tip": ("",),
    },
    quals={"people": " for {v}", "minutes": ", each ready in {v} minutes"},
    says={
        "people": lines("""
            Each recipe makes enough for {v} people.
            The amounts are right for {v}.
            """),
        "minutes": lines("""
            Each of them takes about {v} minutes.
            You need only {v} minutes for each.
            """),
    },
    mentions={
        "rice": ("brown rice with vegetables: cooked in one pot", "rice salad with herbs: good hot or cold"),
        "beans": ("white beans on toast: with garlic and parsley", "warm beans with tomato: quick and filling"),
        "potatoes": ("roasted potatoes with herbs: crisp and golden", "mashed potatoes with peas: soft and warm"),
        "spinach": ("spinach with garlic on toast: ready in minutes", "warm spinach salad: with a light dressing"),
        "lemon": ("couscous with lemon and mint: light and fresh", "lemon pasta with herbs: bright and simple"),
        "carrots": ("roasted carrots with couscous: with a little honey", "grated carrots in a wrap: sweet and fresh"),
        "berries": ("pancakes with berries: with a spoon of honey", "oats with berries: warm and sweet"),
        "tomatoes": ("grilled tomatoes on toast: with olive oil", "stuffed tomatoes: baked with herbs"),
    },
    mention_items=True,
    intros=lines("""
        Here are {n} {topic}{q}.
        This is a simple plan with {n} {topic}{q}.
        You could make these {n} {topic}{q}.
        I would go for these {n} {topic}{q}.
        Try these {n} {topic}{q}.
        """),
    closings=lines("""
        All of them are easy to shop for.
        You can cook them in any order.
        Leftovers keep well until the next day.
        None of them needs special tools.
        Start with the one you like best.
        """),
    tips=lines("""
        Tip: buy the fresh things first and cook the rest later.
        Tip: chop the vegetables the night before.
        Tip: make a little more and freeze the rest.
        Tip: taste as you go and add salt at the end.
        """),
    questions=lines("""
        Shall I write a shopping list too?
        Which one would you like to cook first?
        Would you like a dessert to go with them?
        Do you want to change one of them?
        """),
)
