"""The directory of a run: name it, create it, open it, list what it holds.

A run is a directory and everything else is a view of it. A minimal run (an import, somebody else's loop) has only
`examples.parquet` and `signals/`; it can be opened, scored and mapped without recipe or model.
Order inside the room: probes · run · standing · kept · files · features · resume · place.
"""

from leadline.data.examples import SPLITS
from leadline.runs.features import joined_texts, kept_features, split_of, vectors, write_features
from leadline.runs.files import (
    add_results,
    kept_temperature,
    plain,
    predictions_table,
    probabilities,
    refuse_sources,
    sha256,
    with_ids,
    write_parquet,
    write_results,
    write_suspects,
    write_text,
)
from leadline.runs.kept import Written, kept_scores, write_scores
from leadline.runs.place import LOCK, Claimed, check, create, default_name, key, place
from leadline.runs.probes import write_probe
from leadline.runs.run import RegionRule, Run, Scored, cut_map, open
from leadline.runs.standing import Standing

__all__ = [
    "LOCK",
    "SPLITS",
    "Claimed",
    "RegionRule",
    "Run",
    "Scored",
    "Standing",
    "Written",
    "add_results",
    "check",
    "create",
    "cut_map",
    "default_name",
    "joined_texts",
    "kept_features",
    "kept_scores",
    "kept_temperature",
    "key",
    "open",
    "place",
    "plain",
    "predictions_table",
    "probabilities",
    "refuse_sources",
    "sha256",
    "split_of",
    "vectors",
    "with_ids",
    "write_features",
    "write_parquet",
    "write_probe",
    "write_results",
    "write_scores",
    "write_suspects",
    "write_text",
]
