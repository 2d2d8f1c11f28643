"""Sends events to webhook endpoints: signed, to allowed hosts only. Knows neither the store nor who asks for it."""

from luthier.webhooks.delivery import DeliveryError, deliver
from luthier.webhooks.target import check_url

__all__ = ["DeliveryError", "check_url", "deliver"]
