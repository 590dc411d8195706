"""Detectors that learn from other tasks (`meta_fit`) what they then assume of one (`fit`), by whatever means."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from . import checks, ranks
from .adapting import AdaptingDetector
from .episodes import TaskFamily, check_family
from .families.columns import check_columns
from .overlap import check_disjoint
from .tree import Tree


class ExperiencedDetector(AdaptingDetector):
    """A detector that learns across tasks; subclasses say what, in `_learn`.

    Without `meta_fit`, `fit` uses the untrained start.

    Args:
        standardize: True subtracts the mean and divides by the standard deviation of normal support points, those of
            the meta-training tasks or, without `meta_fit`, of the one support set; "task" subtracts each support set's
            own mean, and divides by the standard deviation within training tasks; one for all pixels of images.
        contamination: a number in (0, 0.5] puts the threshold where that share of new normal points would exceed it,
            as far as the support points can tell; "auto" puts it at logit 0 (probability one half), or, if neither
            `meta_fit` nor a labelled anomaly has given the logit a meaning, where 5 % of them would.
        dtype: "float64" or "float32".
        device: where to compute, "cpu" or "cuda".
        random_state: seed or `numpy.random.Generator` for the start and the meta-training tasks.

    Attributes:
        meta_: what was learnt across tasks, a tree of tensors, set by `meta_fit`.
        columns_: names of the columns that `meta_fit` saw, None if they had none; those of later points must agree.
        trained_on_: which units of which population `meta_fit` saw, so that `evaluate` can refuse to test on them.
        history_: dict of lists, ``loss`` and ``valid_loss`` of a gradient training, set by `meta_fit`.
    """

    valid: ClassVar = {"meta_tasks": checks.integer(2)}
    bound = ("standardize",)
    meta_tasks = 100  # drawn first, to measure location and scale; a parameter of those that learn from no others

    def _learn(self, train, valid, first, scaling, rng, checkpoint) -> tuple[Tree, dict[str, list[float]]]:
        """What is learnt, and the history of how.

        Args:
            train, valid: the families that `meta_fit` got.
            first: raw `Episodes` of `train`, points in rows.
            scaling: location and scale of their normal support points, a `Scaling`.
            rng: `numpy.random.Generator`, the source of everything random.
            checkpoint: what `meta_fit` got.
        """
        raise NotImplementedError

    def meta_fit(self, train: TaskFamily, valid: TaskFamily | None = None, checkpoint=None):
        """Learn across tasks.

        Under ``torchrun`` all processes end with the same detector; where gradients are taken, each takes its share of
        every meta-batch.

        Args:
            train: family to learn from.
            valid: family to choose the best outer step on; its units must not be in `train`.
            checkpoint: file to write the state of a gradient training to every 20 outer steps. If it exists, training
                goes on from it; start with the same parameters and families (only `meta_steps`, `patience`,
                `contamination` and `device` may differ).

        Raises:
            ValueError: if the families overlap or differ in their columns, a parameter is out of range, training
                diverges, or the checkpoint is another training's.
        """
        for name, family in (("train", train), ("valid", train if valid is None else valid)):
            check_family(family, name)
            if not family.anomalous_queries:
                raise ValueError(f"{name} needs anomalous_queries: without any, calling everything normal is best.")
        check_disjoint(train, valid)
        check_columns(train if valid is None else valid, train.feature_names)
        self._check_params()
        ranks.check_same("tasks", [family and family.identity() for family in (train, valid)])
        with self._all_or_nothing():
            for earlier in ["_wrapped", *self._learnt]:  # and take the reader's network as it is now
                vars(self).pop(earlier, None)
            rng = ranks.generator(self.random_state)
            first = self.draw(train, self.meta_tasks, rng)
            self.image_shape_ = checks.image_shape(first.support_x[0])
            first = first.flat().to(self.device)
            scaling = self._standardizer.measure(first)
            learnt, self.history_ = self._learn(train, valid, first, scaling, rng, checkpoint)
            self.meta_, self.n_features_in_ = learnt | {"scaling": scaling._asdict()}, first.support_x.shape[-1]
            self.trained_on_, self.columns_ = tuple(train.identity()), train.feature_names
            if self.columns_ is not None:
                self.feature_names_in_ = np.array(train.feature_names, dtype=object)
            self._bind()
        return self
