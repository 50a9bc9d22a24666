"""A server that is torn down comes back with all that was committed, where it was."""

from __future__ import annotations

import pytest
from django.db import Error, connections

from tests.shop.models import Order


def test_what_was_committed_is_there_after_the_fall(torn, own_server):
    Order.objects.using(torn).create(number=1)
    own_server.stop()
    with pytest.raises(Error):
        Order.objects.using(torn).create(number=2)
    connections[torn].close()
    with pytest.raises(Error):
        connections[torn].ensure_connection()
    own_server.start()
    assert Order.objects.using(torn).get().number == 1
