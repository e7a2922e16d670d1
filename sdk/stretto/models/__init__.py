"""Fitted estimators, and the files of saved ones, as steps."""

from stretto.models.answering import answering, rows_read
from stretto.models.answers import Answers, answers_of, check_after_fan_out, check_after_model
from stretto.models.compiled import Compiled
from stretto.models.engines import Engine, Plurality, find_engine
from stretto.models.estimator import default_name, is_estimator
from stretto.models.files.cache import File, FileReference, digest, read_reference
from stretto.models.files.formats import SavedModel, load_model, save_model
from stretto.models.function import ModelFunction, in_order, seen_through
from stretto.models.signature import Column, Signature
from stretto.models.step import accepting, model_step, on_engine, with_function

__all__ = [
    "Answers",
    "Column",
    "Compiled",
    "Engine",
    "File",
    "FileReference",
    "ModelFunction",
    "Plurality",
    "SavedModel",
    "Signature",
    "accepting",
    "answering",
    "answers_of",
    "check_after_fan_out",
    "check_after_model",
    "default_name",
    "digest",
    "find_engine",
    "in_order",
    "is_estimator",
    "load_model",
    "model_step",
    "on_engine",
    "read_reference",
    "rows_read",
    "save_model",
    "seen_through",
    "with_function",
]
