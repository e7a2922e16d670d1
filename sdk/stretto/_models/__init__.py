"""Fitted estimators, and the files of saved ones, as steps."""

from stretto._models.agree import check_after_fan_out, check_after_model
from stretto._models.answers import Answers, answering, answers_of, rows_read
from stretto._models.estimators import default_name, is_estimator
from stretto._models.files import SavedModel, load_model, save_model
from stretto._models.onnx.merged import Member, Merged, Votes, merged
from stretto._models.opened import File, Sent, digest, received
from stretto._models.step import (
    ModelFunction,
    accepting,
    classes_of,
    engine_of,
    features_of,
    file_of,
    is_compiled,
    model_step,
    optimized,
)

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
    "classes_of",
    "default_name",
    "digest",
    "engine_of",
    "features_of",
    "file_of",
    "is_compiled",
    "is_estimator",
    "load_model",
    "merged",
    "model_step",
    "optimized",
    "received",
    "rows_read",
    "save_model",
]
