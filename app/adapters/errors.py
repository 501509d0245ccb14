"""What operators are told when something about an adapter is not right.

BadRequest   ── AdapterRejected (400)        the folder cannot be served; `details.reason` says why
Conflict     ── AdapterExists (409)          the name is taken for ever
             ── AdapterNotReady (409)        the smoke test failed, or files changed on disk
             ── DemoAdapter (409)            a demonstration adapter outside development
Unavailable  ── AdapterReplicaFailed (503)   `details.replicas` names each replica and what it said
             ── AdapterStorageFull (503)     the disk is full; nothing was kept
"""

from __future__ import annotations

from enum import StrEnum

from app.errors import BadRequest, Conflict, Unavailable


class Reason(StrEnum):
    """Why a folder was refused."""

    NOT_A_FOLDER = "not_a_folder"
    OUTSIDE_ROOT = "outside_root"
    SYMLINK = "symlink"
    CONFIG_MISSING = "config_missing"
    CONFIG_INVALID = "config_invalid"
    NOT_LORA = "not_lora"
    DORA = "dora_not_supported"
    UNSUPPORTED_OPTION = "unsupported_option"
    WRONG_BASE_MODEL = "wrong_base_model"
    RANK_TOO_HIGH = "rank_too_high"
    TARGET_MODULES = "target_modules_not_supported"
    WEIGHTS_MISSING = "weights_missing"
    WEIGHTS_CORRUPT = "weights_corrupt"
    WEIGHTS_NOT_FINITE = "weights_not_finite"
    WEIGHTS_WITHOUT_EFFECT = "weights_without_effect"
    WRONG_SHAPES = "wrong_shapes"
    TOO_LARGE = "too_large"
    BAD_NAME = "bad_name"
    NOT_AS_CLAIMED = "not_as_claimed"


class AdapterRejected(BadRequest):
    code = "adapter_rejected"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message, details={"reason": reason.value})
        self.reason = reason


class AdapterExists(Conflict):
    code, message = "adapter_exists", "这个适配器名称已经使用过；版本名不可重复使用，请换一个编号。"


class AdapterNotReady(Conflict):
    code, message = "adapter_not_ready", "适配器未通过检查，不能上线。"


class DemoAdapter(Conflict):
    code, message = "demo_adapter", "这是演示用适配器，只能在开发环境中使用。"


class AdapterReplicaFailed(Unavailable):
    code, message = "adapter_replica_failed", "有模型副本没有完成操作，适配器状态未改变。"


class AdapterStorageFull(Unavailable):
    code, message = "adapter_storage_full", "磁盘空间不足，适配器没有登记。"
