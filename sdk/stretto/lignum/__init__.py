"""The lignum engine: boosters of XGBoost, LightGBM and CatBoost, bit for bit."""

from stretto.lignum.engine import LignumEngine

__all__ = ["LignumEngine"]
