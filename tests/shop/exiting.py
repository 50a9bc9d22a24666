"""A script without a guard, as apps have them beside their modules."""

from __future__ import annotations

import sys

sys.exit("this script was imported")
