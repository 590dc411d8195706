"""Every meta-learned detector: `meta_fit` across tasks, scikit-learn's `fit` on one."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import numpy as np
from torch import nn

from . import checks, ranks, training
from .adapting import AdaptingDetector
from .checkpoint import Checkpoint
from .convolutions import ConvNet
from .episodes import TaskFamily, check_family
from .networks import MLP
from .overlap import check_disjoint
from .tree import mapped

# An estimator's parameters are its fields; own ones by position, those of its bases by name.
detector = functools.partial(dataclasses.dataclass, eq=False, repr=False)


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class MetaDetector(AdaptingDetector):
    """A detector that learns across tasks (`meta_fit`) how to adapt to one (`fit`).

    Without `meta_fit`, `fit` adapts the untrained start.

    Args:
        hidden: widths of the network's hidden layers, () for a linear model; None is () for points (n, d), and for
            images (n, h, w) a `ConvNet` in place of such layers.
        network: instead of these layers a `ConvNet`, or any `torch.nn.Module` from rows (n, d) to n logits.
        meta_lr: step size of the outer loop (Adam); None is 0.02, 0.003 for a `network`, 0.01 for images without one.
        meta_steps: number of outer steps; None is 400, or 450 for images without a `network`.
        meta_batch: tasks per outer step; None is 25, or 8 for images without a `network`.
        patience: stop after this many looks at the validation tasks, one every 20 outer steps, without improvement.
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
        meta_: meta-parameters, a tree of tensors, set by `meta_fit`.
        columns_: names of the columns that `meta_fit` saw, None if they had none; those of later points must agree.
        trained_on_: which units of which population `meta_fit` saw, so that `evaluate` can refuse to test on them.
        history_: dict of lists, ``loss`` (each outer step) and ``valid_loss`` (each check), set by `meta_fit`.
        params_: adapted parameters with a task axis of length 1, set by `fit`.
    """

    hidden: tuple[int, ...] | None = None
    network: ConvNet | nn.Module | None = None
    meta_lr: float | None = None
    meta_steps: int | None = None
    meta_batch: int | None = None
    patience: int | None = None
    standardize: bool | str = True
    contamination: float | str = "auto"
    dtype: str = "float64"
    device: str = "cpu"
    random_state: object = None

    valid: ClassVar = {
        "hidden": checks.optional(lambda value, name: MLP(value)), "network": checks.network,
        "meta_lr": checks.optional(checks.positive), "meta_steps": checks.optional(checks.integer(1)),
        "meta_batch": checks.optional(checks.integer(1)), "patience": checks.optional(checks.integer(1)),
        "standardize": checks.one_of(True, False, "task"),
        "dtype": checks.one_of("float32", "float64"), "device": checks.device,
    }  # fmt: skip
    bound = ("hidden", "network", "standardize")
    every = 20  # outer steps between two looks at the validation tasks

    @property
    def _recipe(self) -> tuple[float, int, int]:
        """Step size of the outer loop, number of steps, and tasks in each."""
        given = self.network is not None
        usual = (0.003, 400, 25) if given else (0.02, 400, 25) if isinstance(self.net, MLP) else (0.01, 450, 8)
        return tuple(
            own or default for own, default in zip((self.meta_lr, self.meta_steps, self.meta_batch), usual, strict=True)
        )

    def meta_fit(self, train: TaskFamily, valid: TaskFamily | None = None, checkpoint=None):
        """Learn across tasks by gradient descent on the query loss after adaptation.

        Under ``torchrun`` each process takes its share of every meta-batch, and all end with the same detector.

        Args:
            train: family to learn from.
            valid: family to choose the best outer step on; its units must not be in `train`.
            checkpoint: file to write the state of the training to every 20 outer steps. If it exists, training goes
                on from it; start with the same parameters (only `meta_steps` and `patience` may differ) and families.

        Raises:
            ValueError: if the families overlap, a parameter is out of range, training diverges, or the checkpoint
                is another training's.
        """
        for name, family in (("train", train), ("valid", valid or train)):
            check_family(family, name)
            if not family.anomalous_queries:
                raise ValueError(f"{name} needs anomalous_queries: without any, calling everything normal is best.")
        check_disjoint(train, valid)
        self._check_params()
        for name, family in (("training", train), ("validation", valid)):
            ranks.check_same(f"{name} tasks", family and repr(family.identity()))
        with self._all_or_nothing():
            vars(self).pop("_wrapped", None)  # take the reader's network as it is now
            rng = ranks.generator(self.random_state)
            first = self.draw(train, max(self.meta_batch or 25, 100), rng)
            self.image_shape_ = tuple(first.support_x.shape[2:]) if first.support_x.dim() == 4 else None
            lr, steps, batch = self._recipe
            first = first.flat().to(ranks.device(self.device))
            scaling, n_features = self._standardizer.measure(first), first.support_x.shape[-1]
            start = mapped(lambda value: value.to(**self._place), self.init(rng, n_features))
            watched = None if valid is None else self._scaled(scaling, self.draw(valid, 100, rng))
            marks = {"first": first.query_x, "scale": scaling.scale, "valid": watched and watched.query_x}
            learnt, history = training.meta_train(
                start, lambda: self._scaled(scaling, self.draw(train, batch, rng)), self.outer_loss,
                watched=watched, valid_loss=self.valid_loss, every=self.every, patience=self.patience,
                lr=lr, decay=self.averaging, steps=steps, label=type(self).__name__,
                checkpoint=checkpoint and Checkpoint(self, train, marks, rng, checkpoint),
            )  # fmt: skip
            for stale in ("feature_names_in_", "params_", "threshold_", "calibrated_"):
                vars(self).pop(stale, None)  # what an earlier `fit` left
            self.meta_, self.history_ = learnt | {"scaling": scaling._asdict()}, history
            self.n_features_in_, self.trained_on_ = n_features, train.identity()
            self.columns_ = train.feature_names
            if self.columns_ is not None:
                self.feature_names_in_ = np.array(train.feature_names, dtype=object)
            self._bind()
        return self
