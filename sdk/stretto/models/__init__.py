"""Fitted estimators, and the files of saved ones, as steps."""

from stretto.models.agree import check_after_fan_out, check_after_model
from stretto.models.estimator import default_name, is_estimator
from stretto.models.files.cache import File, Sent, digest, received
from stretto.models.files.formats import SavedModel, load_model, save_model
from stretto.models.signature import Answers, answering, answers_of, rows_read
from stretto.models.step import (
    ModelFunction,
    accepting,
    model_step,
    optimized,
)
from stretto.onnx.merged import Member, Merged, Votes, merged

__all__ = [
    "Answers",
    "File",
    "Member",
    "Merged",
    "ModelFunction",
    "SavedModel",
    "Sent",
    "Votes",
    "accepting",
    "answering",
    "answers_of",
    "check_after_fan_out",
    "check_after_model",
    "default_name",
    "digest",
    "is_estimator",
    "load_model",
    "merged",
    "model_step",
    "optimized",
    "received",
    "rows_read",
    "save_model",
]
