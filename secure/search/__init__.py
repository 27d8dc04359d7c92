"""Networks that fit the protocols: which heads keep a softmax, and which layers an activation and norms.

    front = secure.search.search("vit-folder", (images, labels), out="found", network="wan")
    plan = front.within(0.75)                                  # of the teacher's predicted seconds
    secure.search.distil("vit-folder", plan, (images, labels), out="student")

MPCViT (Zeng et al., ICCV 2023) searches for such plans by gradients through relaxed choices. Started from a trained
teacher, those stay where they are. So one network is trained whose weights serve every plan: each batch trains another
plan to say what the teacher says. Plans are then tried on held-out inputs, without training, against what each of them
costs, which `secure.models.price` knows. Parties, and `import secure`, import nothing of this.
"""

from __future__ import annotations

from secure.search.distilling import distil
from secure.search.front import Candidate, Front
from secure.search.searching import search
from secure.search.space import AttentionPlan

__all__ = ["AttentionPlan", "Candidate", "Front", "distil", "search"]
