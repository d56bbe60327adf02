"""The tables of each kind of request, one module each, and their register."""

from models.world.kinds.email import EMAIL
from models.world.kinds.gifts import GIFTS
from models.world.kinds.invitation import INVITATION
from models.world.kinds.meal import MEAL
from models.world.kinds.outline import OUTLINE
from models.world.kinds.packing import PACKING
from models.world.kinds.story import ENDINGS, STORY
from models.world.kinds.thanks import THANKS
from models.world.kinds.travel import TRAVEL
from models.world.kinds.workout import WORKOUT

# In the order in which a parser asks: a thank-you note for a lovely dinner is no meal plan.
KINDS = {k.name: k for k in (THANKS, INVITATION, EMAIL, STORY, OUTLINE, PACKING, WORKOUT, GIFTS, TRAVEL, MEAL)}

__all__ = ["ENDINGS", "KINDS"]
