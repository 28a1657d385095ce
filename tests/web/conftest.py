import pytest

from tests.web.ui import Ui


@pytest.fixture
def ui() -> Ui:
    return Ui()
