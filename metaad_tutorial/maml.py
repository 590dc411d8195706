"""Model-agnostic meta-learning: learn the start, keep the step (Finn et al., 2017)."""

from __future__ import annotations

from .adapt import Params
from .detector import MetaDetector


class MAML(MetaDetector):
    """A start from which K gradient steps of fixed size fit a new task (equation ``maml-inner``).

    Parameters and attributes are those of `MetaDetector`.

    Example:
        >>> from metaad_tutorial import MAML, Fleet
        >>> train, valid, test = Fleet().split(random_state=0)
        >>> detector = MAML(meta_steps=50, random_state=0).meta_fit(train, valid)
        >>> task = test.sample(1, random_state=0)
        >>> detector.fit(task.support_x[0], task.support_y[0]).predict(task.query_x[0]).shape
        (30,)
    """

    def _step(self, meta: Params):
        return lambda name, value, grad: value - self.inner_lr * grad
