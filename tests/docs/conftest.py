"""What the tests of the documents share."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE.parents[1] / "tools"):  # importlib mode adds no path
    sys.path.insert(0, str(folder))
