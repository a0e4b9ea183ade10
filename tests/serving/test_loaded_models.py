"""A promoted version that the service cannot load: the one before stays in use, and the log says
so.
"""

from types import SimpleNamespace

from headwater.errors import DataError
from headwater.models.hot_reload import Reloading
from headwater.serving.loaded_models import LoadedModels


class Refused(Reloading):
    """Version 1, in whose place another one became current."""

    moved = True

    def __init__(self):
        self.served = SimpleNamespace(version="1")

    def refresh(self):
        raise DataError("it reads max_amount_1d, which the service does not have")


def test_a_promoted_version_that_is_refused_is_logged(caplog):
    models = LoadedModels(None)
    models._loaded["fraud", None] = Refused()
    models.refresh()
    assert (
        "model 'fraud': version 1 stays in use; the promoted one is refused: it reads max_amount_1d"
        in caplog.text
    )
    assert models.refused == {
        ("fraud", None): "it reads max_amount_1d, which the service does not have"
    }
