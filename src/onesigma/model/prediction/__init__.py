"""The prediction: what every call of a model will do to the scale of its signals, before any data."""

from onesigma.model.prediction.predict import PredictedRecord, Prediction, predict

__all__ = ["PredictedRecord", "Prediction", "predict"]
