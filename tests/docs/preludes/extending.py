from random import Random

import pytest

from headwater.testing import engine_laws
