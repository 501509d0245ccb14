"""The form of the medical graph: node types, relations with their ends, and which properties each must carry.

Owns the table of the schema (version 1) and nothing else; `graph_load` refuses what breaks its types,
`knowledge_base.graph_check` reports everything else at once.
"""

from __future__ import annotations

from dataclasses import dataclass

ID_PREFIX = {
    "disease": "dis", "symptom": "sym", "drug": "drg", "drug_class": "cls", "test": "tst", "indicator": "ind",
    "risk_factor": "rsk", "procedure": "prc", "food": "fod", "lifestyle": "lif", "population": "pop",
    "department": "dep", "body_part": "bod",
}  # fmt: skip

NODE_REQUIRED: dict[str, dict[str, frozenset[str] | None]] = {
    "disease": {"urgency": frozenset({"emergency", "urgent", "routine"})},
    "symptom": {"lay_terms": None},
    "drug": {"rx": frozenset({"rx", "otc"}), "forms": None},
    "test": {"invasive": None},
    "indicator": {"value_type": frozenset({"number", "pair", "ordinal"}), "unit": None},
    "risk_factor": {"modifiable": None},
    "population": {"criterion": None},
    "department": {"service": frozenset({"cardiology", "allergy", "stroke_rehab", "general"})},
}

NODE_STATUS = frozenset({"active", "merged", "retired"})
EDGE_STATUS = frozenset({"draft", "editorial", "clinician", "conflict", "retired"})
EVIDENCE = frozenset({"G1", "G2", "G3", "C", "L", "S", "T"})
ALIAS_KINDS = frozenset({"brand", "generic", "lay", "abbr", "english", "former", "typo"})


@dataclass(frozen=True, slots=True)
class Relation:
    """Which types a relation joins, which properties it needs (None: any value) and how it is read.

    `symmetric` relations are stored once, smaller id first; `acyclic` ones form no cycle.
    """

    heads: frozenset[str]
    tails: frozenset[str]
    required: dict[str, frozenset[str] | None]
    symmetric: bool = False
    acyclic: bool = False


def _types(names: str) -> frozenset[str]:
    return frozenset(names.split())


_DRUGS = "drug drug_class"
_PATIENT = "disease population"

RELATIONS: dict[str, Relation] = {
    "has_symptom": Relation(
        _types("disease"), _types("symptom"), {"frequency": _types("common occasional rare"), "typical": None}
    ),
    "red_flag_of": Relation(
        _types("symptom"), _types("disease"), {"action": _types("call_120 er_now see_24h")}
    ),
    "differential_of": Relation(_types("disease"), _types("disease"), {"key_feature": None}, symmetric=True),
    "complication_of": Relation(_types("disease"), _types("disease"), {}, acyclic=True),
    "causes": Relation(
        _types(f"disease risk_factor {_DRUGS} food lifestyle"), _types("disease symptom"),
        {"kind": _types("cause risk trigger adverse_effect")},
    ),
    "prevents": Relation(
        _types(f"{_DRUGS} procedure lifestyle food"), _types("disease"),
        {"level": _types("primary secondary")},
    ),
    "treated_by": Relation(
        _types("disease"), _types(f"{_DRUGS} procedure lifestyle"),
        {"setting": _types("acute chronic rehab"), "line": _types("1 2 3 adjunct")},
    ),
    "contraindicated_for": Relation(
        _types(f"{_DRUGS} procedure test food"), _types(_PATIENT), {"level": _types("absolute relative")}
    ),
    "caution_in": Relation(
        _types(f"{_DRUGS} procedure test food lifestyle"), _types(_PATIENT), {"advice": None}
    ),
    "interacts_with": Relation(
        _types(f"{_DRUGS} food"), _types(f"{_DRUGS} food"),
        {"severity": _types("contraindicated major moderate minor"), "effect": None, "management": None},
        symmetric=True,
    ),
    "belongs_to_class": Relation(_types(_DRUGS), _types("drug_class"), {}, acyclic=True),
    "administered_as": Relation(
        _types("drug"), _types("population"),
        {"route": None, "dose_text": None, "frequency": None, "timing": None},
    ),
    "diagnosed_by": Relation(
        _types("disease"), _types("test"), {"role": _types("first_line confirm exclude severity")}
    ),
    "measured_by": Relation(_types("indicator"), _types("test"), {}),
    "monitors": Relation(_types("test indicator"), _types(f"{_DRUGS} disease"), {"frequency": None}),
    "normal_range": Relation(_types("indicator"), _types("population"), {"unit": None}),
    "target_range": Relation(_types("indicator"), _types(_PATIENT), {"unit": None}),
    "abnormal_suggests": Relation(
        _types("indicator"), _types("disease"),
        {"direction": _types("high low"), "role": _types("rule_in rule_out nonspecific")},
    ),
    "recommended_for": Relation(_types("lifestyle food test procedure"), _types(_PATIENT), {}),
    "located_in": Relation(_types("disease symptom procedure"), _types("body_part"), {}),
    "belongs_to_department": Relation(
        _types("disease symptom test procedure"), _types("department"), {"role": _types("primary secondary")}
    ),
}  # fmt: skip

INHERITED = frozenset({"interacts_with", "contraindicated_for", "caution_in"})
"""Relations of a class that hold for its members; `causes` is inherited only as an adverse effect."""
