"""Kinds of things in everyday talk, and which of PersonaExt's relations a fact has by the kind of its object."""

KINDS = {
    "animal": "dog cat kitten puppy pup horse bird parrot goat hen chicken rabbit bunny bunnie fish turtle snake "
    "hamster lizard iguana ferret pony pig cow sheep duck bee collie terrier retriever poodle tabby pet animal",
    "child": "son daughter kid child children toddler twin triplet stepson stepdaughter",
    "sibling": "brother sister sibling",
    "family": "mom mother mommy mum dad father daddy parent grandson granddaughter grandkid grandchild grandchildren "
    "grandma grandmother grandpa grandfather grandparent uncle aunt niece nephew cousin wife husband family",
    "partner": "girlfriend boyfriend fiance fiancee",
    "vehicle": "car truck motorcycle bike boat scooter moped van jeep ford honda toyota chevy prius ferrari camper",
    "food": "food meal dish snack dessert pizza pasta burger steak sushi cheese chocolate cake pie soup taco bread "
    "fries salad fruit curry stew noodle cookie cream candy meat bacon vegetable spaghetti seafood broccoli",
    "drink": "coffee tea beer wine soda whiskey scotch pepsi coke vodka juice milk lemonade",
    "color": "red blue green yellow orange purple pink black white brown grey gray navy color",
    "body": "hair eye skin tattoo freckle toe beard",
    "health": "asthma diabetes cancer allergy allergie ocd anxiety adhd autism",
    "student": "student grader freshman sophomore",
    "gender": "girl boy man woman male female guy lady",
    "belief": "christian catholic hindu atheist muslim buddhist",
}
_KIND = {word + ending: kind for kind, words in KINDS.items() for word in words.split() for ending in ("", "s", "es")}
_ARTICLES = ("a ", "an ", "the ", "my ", "our ", "some ")
# What a relation becomes by the kind of its object
_TASTES = ("animal", "food", "drink", "color")
_RELATIONS = {taste: {kind: f"{taste}_{kind}" for kind in _TASTES} for taste in ("like", "dislike", "favorite")} | {
    "like_food": {"drink": "like_drink"},
    "own": {
        "animal": "have_pet", "child": "have_children", "sibling": "have_sibling", "family": "have_family",
        "partner": "relationship", "vehicle": "have_vehicle", "body": "physical_attribute", "health": "health_status",
    },
    "has_profession": {"student": "school_status", "gender": "gender", "belief": "belief", "family": "have_family"},
}  # fmt: skip


def exact_relation(relation: str, obj: str) -> str:
    """Return the relation by the kind of the object's last word that has one; names of places have no article."""
    if relation in ("live_in", "employed_by"):
        named = "live_in_citystatecountry" if relation == "live_in" else "employed_by_company"
        return f"{relation}_general" if obj.startswith(_ARTICLES) else named
    known = (_RELATIONS.get(relation, {}).get(_KIND.get(word, "")) for word in reversed(obj.split()))
    liked = "like_activity" if obj.split()[0].endswith("ing") else "like_general"
    return next((exact for exact in known if exact), liked if relation == "like" else relation)
