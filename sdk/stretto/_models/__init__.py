"""Fitted estimators, and the files of saved ones, as steps."""

from stretto._models.agree import check_after_fan_out, check_after_model
from stretto._models.answers import Answers, answering, answers_of, rows_read
from stretto._models.estimators import default_name, is_estimator
from stretto._models.files import SavedModel, load_model, save_model
from stretto._models.step import ModelFunction, accepting, classes_of, features_of, model_step

__all__ = [
    "Answers",
    "ModelFunction",
    "SavedModel",
    "accepting",
    "answering",
    "answers_of",
    "check_after_fan_out",
    "check_after_model",
    "classes_of",
    "default_name",
    "features_of",
    "is_estimator",
    "load_model",
    "model_step",
    "rows_read",
    "save_model",
]
