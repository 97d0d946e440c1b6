"""What decides how the model learns and ranks: one configuration for every stream."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from models.settings import setting


@dataclass(frozen=True)
class ModelSettings:
    """Hyper-parameters of the model; a snapshot can only be continued under the settings it was made with."""

    dimension: int = setting("MODEL_DIMENSION", 64, doc="Numbers in an embedding.", minimum=1, maximum=1024)
    context_length: int = setting(
        "MODEL_CONTEXT_LENGTH",
        10,
        doc="Recent positives that form the context; 0 turns it off and leaves plain GMF.",
        minimum=0,
        maximum=50,
    )
    context_decay: float = setting(
        "MODEL_CONTEXT_DECAY",
        0.8,
        doc="Weight of a positive, the next newer one being 1.",
        minimum=0,
        maximum=1,
    )
    negatives: int = setting(
        "MODEL_NEGATIVES",
        64,
        doc="Sampled negatives per positive, half from recent positives, half uniform.",
        minimum=0,
        maximum=1024,
    )
    recent_pool: int = setting(
        "MODEL_RECENT_POOL",
        2000,
        doc="Newest positives that half the negatives come from.",
        minimum=1,
        maximum=1_000_000,
    )
    learning_rate: float = setting(
        "MODEL_LEARNING_RATE", 0.2, doc="Step: rate / (offset + sqrt(accumulated mean squared gradient)).", minimum=0
    )
    step_offset: float = setting("MODEL_STEP_OFFSET", 0.5, doc="Offset of the step.", minimum=1e-6)
    bias_rate: float = setting("MODEL_BIAS_RATE", 0.05, doc="Step of item biases.", minimum=0)
    l2: float = setting("MODEL_L2", 0.001, doc="Decay of touched embeddings.", minimum=0, maximum=1)
    initial_scale: float = setting(
        "MODEL_INITIAL_SCALE", 0.05, doc="Standard deviation of a new item's embeddings.", minimum=0
    )
    seed: int = setting("MODEL_SEED", 0, doc="Seed of every random choice.", minimum=0, maximum=2**63 - 1)
    fast_decay: float = setting(
        "MODEL_FAST_DECAY", 0.999, doc="Decay of fast popularity per learned positive.", minimum=0.5, maximum=0.9999999
    )
    slow_decay: float = setting(
        "MODEL_SLOW_DECAY", 0.9999, doc="Decay of slow popularity per learned positive.", minimum=0.5, maximum=0.9999999
    )
    edges: int = setting("MODEL_EDGES", 100, doc="Strongest transitions kept per item.", minimum=1, maximum=1000)

    def fingerprint(self) -> str:
        """Return a short digest of all settings that decide learning."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]
