"""What every detector shares: scikit-learn's interface, scores, thresholds, meta-training, files."""

from __future__ import annotations

import inspect
from numbers import Integral, Real
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils import ClassifierTags, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from . import files, ranks
from .adapt import AveragingAdam, Params
from .episodes import Episodes, TaskFamily, check_disjoint
from .losses import cross_entropy
from .networks import MLP, ConvNet, ModuleNetwork
from .runtime import progress

SCALING = ("location", "scale")  # meta-parameters that are measured, not learnt by gradient


def as_points(X):
    """Images (n, h, w) become rows (n, h*w), tensors become arrays; everything else is left to scikit-learn."""
    if isinstance(X, Tensor):
        X = X.detach().cpu().numpy()
    if isinstance(X, np.ndarray) and X.ndim > 2:
        X = X.reshape(len(X), -1)
    return X


def check_number(value: Real, name: str, **bounds) -> None:
    """Refuse what is no finite number within the bounds, those of `sklearn.utils.check_scalar`.

    Raises:
        TypeError, ValueError: naming the parameter.
    """
    check_scalar(value, name, Real, **bounds)  # lets NaN pass
    if not np.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}.")


def check_positive(value: Real, name: str) -> None:
    """Refuse what is no finite number above 0, as `check_number` does."""
    check_number(value, name, min_val=0, include_boundaries="neither")


def check_place(dtype: str, device: str) -> None:
    """Refuse what is no precision or no device to compute with.

    Raises:
        ValueError: saying which there are.
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device!r} needs a CUDA GPU, and PyTorch sees none here; use 'cpu'.")
    if device != "cpu" and not str(device).startswith("cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}.")


class Detector(OutlierMixin, BaseEstimator):
    """An anomaly detector that adapts to one task with `fit` and scores points with `anomaly_score`.

    Subclasses implement ``_fit(X, y)`` and ``_score(X)`` on clean float64 arrays.

    Attributes:
        threshold_: a point is an anomaly if its score exceeds it; set by `fit`.
        offset_: ``-threshold_``, scikit-learn's convention.
        n_features_in_: width of the support points.
    """

    contamination: float | str = "auto"

    def fit(self, X, y=None):
        """Adapt to the task with support set (X, y).

        Args:
            X: (n, d) or (n, h, w) support points; NumPy, pandas or torch; finite.
            y: (n,) labels, 0 normal and 1 anomalous, at least one normal; None means all normal.

        Raises:
            ValueError: if X is empty, not finite or of the wrong width, or if y is not as described.
        """
        if self.contamination != "auto":
            share, bounds = self.contamination, {"min_val": 0, "max_val": 0.5}
            check_scalar(share, "contamination", Real, **bounds, include_boundaries="right")
            if not np.isfinite(share):
                raise ValueError(f"contamination must be a number in (0, 0.5] or 'auto', got {share}.")
        before, width = dict(vars(self)), self._width()
        try:
            X = validate_data(self, as_points(X), dtype=np.float64)  # notes the width and the columns' names
            if width not in (None, X.shape[1]):
                raise ValueError(
                    f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {width} features as input."
                )
            y = self._check_labels(y, len(X))
            self._fit(X, y)
            self.threshold_ = self._threshold(self._support_score(X[y == 0]), y)
        except BaseException:  # a fit that fails or is stopped changes nothing
            vars(self).clear()
            vars(self).update(before)
            raise
        self.offset_ = -self.threshold_
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags = ClassifierTags(multi_class=False)  # labels, if given, are 0 and 1
        return tags

    def _width(self) -> int | None:
        """Width the detector is bound to before `fit`; None while it is free."""
        return None

    def _threshold(self, normal_scores: np.ndarray, y: np.ndarray) -> float:
        """Where the share `contamination` of the normal support points, 5 % by default, would be flagged.

        Args:
            normal_scores: (n,) scores of the normal support points.
            y: labels of the whole support set.
        """
        share = 0.05 if self.contamination == "auto" else self.contamination
        return float(np.quantile(normal_scores, 1 - share))

    def _support_score(self, X: np.ndarray) -> np.ndarray:
        """Scores of the normal support points X, as if they had not been fitted on where that matters."""
        return self._score(X)

    @staticmethod
    def _check_labels(y, n: int) -> np.ndarray:
        if y is None:
            return np.zeros(n)
        y = np.asarray(as_points(y))
        if y.shape != (n,):
            raise ValueError(f"y must hold one label for each of the {n} support points, got shape {y.shape}.")
        if not np.isin(y, (0, 1)).all():
            found = np.unique(y)[:5].tolist()
            raise ValueError(f"y must be 0 (normal) or 1 (anomaly), got labels {found}; recode them first.")
        if not (y == 0).any():
            raise ValueError(
                f"No normal point (y == 0) in a support set of n_samples={n}; a detector needs at least one."
            )
        return y.astype(np.float64)

    def anomaly_score(self, X) -> np.ndarray:
        """The score f(x) of each point, (n,) float64: larger is more anomalous.

        Args:
            X: (n, d) or (n, h, w) finite points of the same width as the support points.
        """
        check_is_fitted(self, "threshold_")
        score = self._score(validate_data(self, as_points(X), dtype=np.float64, reset=False))
        if not np.isfinite(score).all():
            raise ValueError(f"{(~np.isfinite(score)).sum()} scores overflow: rescale the points, or use float64.")
        return score

    def score_samples(self, X) -> np.ndarray:
        """``-anomaly_score(X)``, (n,): scikit-learn's convention, larger is more normal."""
        return -self.anomaly_score(X)

    def decision_function(self, X) -> np.ndarray:
        """``score_samples(X) - offset_``, (n,): negative for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X) -> np.ndarray:
        """-1 for anomalies and +1 for normal points, (n,), at `threshold_`."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def score_tasks(self, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
        """Fit on each support set and score its query set.

        Returns:
            scores (T, Q) and thresholds (T,).
        """
        scores, thresholds = [], []
        for task in episodes:
            fitted = clone(self).fit(task.support_x[0], task.support_y[0])
            scores.append(fitted.anomaly_score(task.query_x[0]))
            thresholds.append(fitted.threshold_)
        return np.array(scores), np.array(thresholds)


class MetaDetector(Detector):
    """A detector that learns across tasks (`meta_fit`) how to adapt to one (`fit`).

    This class holds what all methods share; they differ in `_start`, what is learnt across tasks, and `_adapt`, what
    a support set changes. Without `meta_fit`, `fit` adapts the untrained start.

    Args:
        hidden: widths of the network's hidden layers; () is a linear model.
        network: instead of these layers a `ConvNet`, or any `torch.nn.Module` from rows (n, d) to n logits.
        meta_lr: step size of the outer loop (Adam); None is 0.02, or 0.003 for a `network`.
        meta_steps: number of outer steps.
        meta_batch: tasks per outer step.
        patience: stop after this many looks at the validation tasks, one every 20 outer steps, without improvement.
        standardize: subtract the mean and divide by the standard deviation of normal support points, those of the
            meta-training tasks or, without `meta_fit`, of the one support set; one for all pixels under a `ConvNet`.
        contamination: a number in (0, 0.5] puts the threshold where that share of the normal support points would
            be flagged; "auto" puts it at logit 0 (probability one half), or, if neither `meta_fit` nor a labelled
            anomaly has given the logit a meaning, where 5 % of them would be.
        dtype: "float64" or "float32".
        device: where to compute, "cpu" or "cuda".
        random_state: seed or `numpy.random.Generator` for the start and the meta-training tasks.

    Attributes:
        meta_: meta-parameters, a dict of tensors, set by `meta_fit`.
        trained_on_: the family given to `meta_fit`, so that `evaluate` can refuse to test on it.
        history_: dict of lists, ``loss`` (each outer step) and ``valid_loss`` (each check), set by `meta_fit`.
        params_: adapted parameters with a task axis of length 1, set by `fit`.
    """

    valid_every = 20  # outer steps between two looks at the validation tasks
    chunk = 100  # tasks adapted at once when scoring

    def __init__(
        self,
        hidden: tuple[int, ...] = (),
        network: ConvNet | nn.Module | None = None,
        meta_lr: float | None = None,
        meta_steps: int = 400,
        meta_batch: int = 25,
        patience: int | None = None,
        standardize: bool = True,
        contamination: float | str = "auto",
        dtype: str = "float64",
        device: str = "cpu",
        random_state=None,
    ):
        self.hidden = hidden
        self.network = network
        self.meta_lr = meta_lr
        self.meta_steps = meta_steps
        self.meta_batch = meta_batch
        self.patience = patience
        self.standardize = standardize
        self.contamination = contamination
        self.dtype = dtype
        self.device = device
        self.random_state = random_state

    def __init_subclass__(cls, **kwargs):
        """Show a subclass's ``__init__(self, own, **shared)`` with all its parameters, as scikit-learn expects."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            shared = inspect.signature(super(cls, cls).__init__).parameters
            own = inspect.signature(cls.__init__).parameters
            named = {n: p for n, p in {**own, **shared}.items() if p.kind is not p.VAR_KEYWORD}
            cls.__init__.__signature__ = inspect.Signature(named.values())

    # What a method defines.

    second_order = True  # differentiate through the gradients that adaptation takes
    gives_features = False  # whether a module of the reader's gives features (n, m) instead of logits
    averaging = 0.0  # decay of a running mean over the outer steps, which `meta_fit` then keeps; 0 keeps the last step

    def _shape(self) -> tuple:
        """The parameters that decide which meta-parameters there are, as (name, value)."""
        return ("hidden", tuple(self.hidden)), ("network", self.network)

    def _start(self, n_features: int, rng: np.random.Generator) -> Params:
        """Meta-parameters before training; names beginning with ``start.`` are the learner's."""
        return {f"start.{name}": value for name, value in self._network.init(rng, n_features).items()}

    def _adapt(self, meta: Params, x: Tensor, y: Tensor, second_order: bool) -> Params:
        """Adapt to every task's support set: x (T, S, d), y (T, S) -> what `_logit` takes as parameters."""
        raise NotImplementedError

    def _outer_loss(self, meta: Params, episodes: Episodes) -> Tensor:
        """What the outer loop descends: a scalar whose gradient is the meta-gradient."""
        return self._query_loss(meta, episodes, self.second_order)

    # What they share.

    def _check_params(self) -> None:
        for name in ("meta_steps", "meta_batch"):
            check_scalar(getattr(self, name), name, Integral, min_val=1)
        if self.meta_lr is not None:
            check_positive(self.meta_lr, "meta_lr")
        if self.patience is not None:
            check_scalar(self.patience, "patience", Integral, min_val=1)
        if self.network is None:
            MLP(self.hidden)  # refuses what are no widths
        elif self.hidden:
            raise ValueError("Give either hidden or network, not both: a network brings its own layers.")
        if not isinstance(self.network, ConvNet | nn.Module | None):
            raise ValueError(f"network must be a ConvNet or a torch.nn.Module, got {type(self.network).__name__}.")
        if isinstance(self.network, ConvNet) and self.network.outputs and not self.gives_features:
            raise ValueError(f"{type(self).__name__} needs a network that gives a logit: a ConvNet without outputs.")
        check_place(self.dtype, self.device)

    @property
    def _network(self) -> MLP | ConvNet | ModuleNetwork:
        if not isinstance(self.network, nn.Module):
            return self.network or MLP(self.hidden)
        wrapped = getattr(self, "_wrapped", None)
        if wrapped is None or wrapped.origin is not self.network:
            self._wrapped = wrapped = ModuleNetwork(self.network, self.gives_features)
        return wrapped

    @property
    def _place(self) -> dict:
        """Where and how the detector computes, as arguments of `torch.Tensor.to`."""
        return {"device": ranks.device(self.device), "dtype": getattr(torch, self.dtype)}

    def _to(self, values: Params) -> Params:
        return {name: torch.as_tensor(value).to(**self._place) for name, value in values.items()}

    def _scaling(self, x: Tensor, y: Tensor) -> Params:
        """Mean and standard deviation of each task's normal points: x (T, S, d), y (T, S) -> (T, 1, d)."""
        dims = (1, 2) if isinstance(self.network, ConvNet) else (1,)  # a convolution treats all pixels alike
        weight = (y == 0).to(x.dtype).unsqueeze(-1)
        count = weight.expand_as(x).sum(dims, keepdim=True)
        location = (weight * x).sum(dims, keepdim=True) / count
        scale = ((weight * (x - location) ** 2).sum(dims, keepdim=True) / count).sqrt()
        if not self.standardize:
            location, scale = torch.zeros_like(location), torch.ones_like(scale)
        scale = torch.where(scale > 100 * torch.finfo(x.dtype).eps * location.abs(), scale, 1.0)
        shape = (len(x), 1, x.shape[-1])
        return {"location": location.expand(shape), "scale": scale.expand(shape)}

    def _logit(self, params: Params, scaling: Params, x: Tensor) -> Tensor:
        """Logits of x (T, N, d); ``scaling["support"]``, if there, gives batch normalisation its statistics."""
        location, scale, support = scaling["location"], scaling["scale"], scaling.get("support")
        context = None if support is None else (support - location) / scale
        return self._network(params, (x - location) / scale, context)

    def _context(self, meta: Params, x: Tensor) -> Params:
        """What `_logit` needs besides parameters: the scaling, and the support set x if the network looks at it."""
        return {name: meta[name] for name in SCALING} | ({"support": x} if self._network.uses_context else {})

    def _query_loss(self, meta: Params, episodes: Episodes, second_order: bool = True) -> Tensor:
        """L of equation ``meta-objective``: mean over tasks of the query loss after adaptation."""
        params = self._adapt(meta, episodes.support_x, episodes.support_y, second_order)
        logit = self._logit(params, self._context(meta, episodes.support_x), episodes.query_x)
        return cross_entropy(logit, episodes.query_y).mean()

    def _sample(self, family: TaskFamily, n_tasks: int, rng: np.random.Generator) -> Episodes:
        """Draw episodes, flatten their points, and move them to where and how the detector computes."""
        return family.sample(n_tasks, rng).to(**self._place).flat()

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
        check_disjoint(train, valid)
        self._check_params()
        if self.patience is not None and valid is None:
            raise ValueError("patience needs validation tasks: meta_fit(train, valid).")
        if checkpoint is not None and not isinstance(self.random_state, Integral):
            raise ValueError("A checkpoint needs an integer random_state, to go on with the same tasks.")
        if checkpoint is not None and not Path(checkpoint).absolute().parent.is_dir():
            raise ValueError(f"There is no folder for the checkpoint {checkpoint}: make it first.")
        for name, family in (("training", train), ("validation", valid)):
            ranks.check_same(f"{name} tasks", family and (family.source, family.units.tolist()))
        vars(self).pop("_wrapped", None)  # take the reader's network as it is now
        rng = ranks.generator(self.random_state)
        first = self._sample(train, max(self.meta_batch, 100), rng)
        n_features = first.support_x.shape[-1]
        scaling = self._scaling(first.support_x.flatten(0, 1)[None], first.support_y.flatten()[None])
        learnt = self._to(self._start(n_features, rng))
        ranks.same(learnt)  # a module of the reader's may start differently in each process
        for value in learnt.values():
            value.requires_grad_()
        meta = {**scaling, **learnt}
        default_lr = 0.02 if self.network is None else 0.003
        optimizer = AveragingAdam(learnt.values(), lr=self.meta_lr or default_lr, decay=self.averaging)
        watched = self._sample(valid, 100, rng) if valid is not None else None
        if watched is not None and watched.query_x.shape[-1] != n_features:
            raise ValueError(
                f"Validation tasks have {watched.query_x.shape[-1]} features, training tasks {n_features}: "
                "take both from one family."
            )
        probe = torch.cat([part.query_x.mean((1, 2)) for part in (first, watched) if part is not None]).cpu().numpy()
        run = files.Training(self, train, meta, optimizer, rng, probe)
        if checkpoint is not None:
            run.resume(checkpoint)
            if run.step > self.meta_steps:
                raise ValueError(f"{checkpoint} holds {run.step} outer steps, more than meta_steps={self.meta_steps}.")
        for i in progress(range(run.step + 1, self.meta_steps + 1), type(self).__name__):
            if self.patience is not None and run.looks_since_best >= self.patience:
                break
            part, weight = ranks.share(self._sample(train, self.meta_batch, rng))
            loss = self._outer_loss(meta, part) * weight
            optimizer.zero_grad()
            loss.backward()
            loss = ranks.add_up(loss.detach(), *(value.grad for value in learnt.values()))
            run.history["loss"].append(loss.item())
            if not np.isfinite(run.history["loss"][-1]):
                raise ValueError("Meta-training diverged: lower meta_lr or inner_lr, or leave standardize=True.")
            optimizer.step()
            run.step = i
            if i % self.valid_every == 0 or i == self.meta_steps:
                if watched is not None:
                    part, weight = ranks.share(watched)
                    kept = meta | optimizer.means(learnt)
                    with torch.no_grad():
                        loss = self._query_loss(kept, part, second_order=False) * weight
                    run.look(ranks.add_up(loss).item(), kept)
                if checkpoint is not None and ranks.rank() == 0:
                    run.save(checkpoint)
        self.meta_ = run.best or {n: v.detach().clone() for n, v in (meta | optimizer.means(learnt)).items()}
        self.history_ = run.history
        self.n_features_in_ = n_features
        self._trained_shape = self._shape()
        for stale in ("feature_names_in_", "params_", "scaling_", "threshold_", "offset_"):
            vars(self).pop(stale, None)  # what an earlier `fit` left
        self.trained_on_ = train
        return self

    def _width(self) -> int | None:
        return self.n_features_in_ if hasattr(self, "meta_") else None

    def _adapted(self, x: Tensor, y: Tensor) -> tuple[Params, Params]:
        """Adapted parameters, and what `_logit` needs besides, for the support sets x (T, S, d), y (T, S)."""
        meta, trained = getattr(self, "meta_", None), getattr(self, "_trained_shape", self._shape())
        changed = [name for (name, now), (_, then) in zip(self._shape(), trained, strict=True) if now != then]
        if meta is not None and changed:
            raise ValueError(f"{', '.join(changed)} changed since meta_fit: call meta_fit again.")
        if meta is None:
            vars(self).pop("_wrapped", None)
            start = self._start(x.shape[-1], np.random.default_rng(self.random_state))
            meta = {**self._scaling(x, y), **self._to(start)}
        if x.shape[-1] != meta["location"].shape[-1]:
            width = meta["location"].shape[-1]
            raise ValueError(
                f"X has {x.shape[-1]} features, but {type(self).__name__} is expecting {width} features as input."
            )
        meta = self._to(meta)  # dtype and device may have changed since meta_fit
        with torch.no_grad():
            params = self._adapt(meta, x, y, second_order=False)
        if not all(value.isfinite().all() for value in params.values()):
            raise ValueError(
                "Adapting to the support set gave numbers that are not finite: leave standardize=True, and lower "
                "inner_lr or inner_steps where the detector has them."
            )
        return {n: v.detach() for n, v in params.items()}, self._context(meta, x)

    def _threshold(self, normal_scores: np.ndarray, y: np.ndarray) -> float:
        if self.contamination == "auto" and (hasattr(self, "meta_") or y.any()):
            return 0.0
        return super()._threshold(normal_scores, y)

    def _fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self._check_params()
        support = self._to({"x": X[None].copy(), "y": y[None]})
        self.params_, self.scaling_ = self._adapted(support["x"], support["y"])

    def _score(self, X: np.ndarray) -> np.ndarray:
        x = self._to({"x": X[None].copy()})["x"]  # PyTorch refuses read-only arrays
        with torch.no_grad():
            return self._logit(self.params_, self.scaling_, x)[0].cpu().numpy().astype(np.float64)

    def score_tasks(self, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
        """Adapt to all support sets, many at a time, and score their query sets.

        Returns:
            scores (T, Q) and thresholds (T,), the same as from `fit` and `anomaly_score` task by task.
        """
        self._check_params()
        scores, thresholds = [], []
        for first in range(0, len(episodes), self.chunk):
            part = episodes[slice(first, first + self.chunk)].to(**self._place).flat()
            params, scaling = self._adapted(part.support_x, part.support_y)
            with torch.no_grad():
                scores.append(self._logit(params, scaling, part.query_x).cpu().numpy())
                support = self._logit(params, scaling, part.support_x).cpu().numpy()
            labels = part.support_y.cpu().numpy()
            thresholds += [self._threshold(s[label == 0], label) for s, label in zip(support, labels, strict=True)]
        return np.concatenate(scores).astype(np.float64), np.array(thresholds)

    # Files.

    def save(self, path) -> None:
        """Write the detector to one ``.npz`` file of plain arrays and JSON; no pickle.

        Raises:
            ValueError: if it was neither meta-trained nor fitted, or `random_state` is not a plain number.
        """
        arrays = {}
        for group in ("meta_", "params_", "scaling_"):
            for name, value in getattr(self, group, {}).items():
                arrays[f"{group}/{name}"] = value.cpu().numpy()
        if not arrays:
            raise ValueError("Nothing to save: call meta_fit or fit first.")
        plain = {
            n: getattr(self, n) for n in ("threshold_", "offset_", "n_features_in_", "history_") if hasattr(self, n)
        }
        if hasattr(self, "trained_on_"):
            plain["source"] = self.trained_on_.source
            arrays["units"] = self.trained_on_.units
        if isinstance(self.network, nn.Module):
            arrays |= {f"fixed/{name}": value.cpu().numpy() for name, value in self._network.fixed().items()}
        params = files.pack(self.get_params(deep=False))
        files.write(path, {"class": type(self).__name__, "params": params, "state": plain}, arrays)

    @classmethod
    def load(cls, path, network: nn.Module | None = None) -> MetaDetector:
        """Read a detector written by `save`.

        Args:
            path: the file.
            network: the reader's own network, if the detector has one; the file holds its parameters, not its code.

        Raises:
            ValueError: if the file is damaged, no detector's, or holds another kind of detector, or if a network
                is missing.
        """
        header, arrays = files.read(path)
        try:
            kind, params, state = header["class"], header["params"], header["state"]
        except (KeyError, TypeError):
            raise ValueError(f"{path} is not a saved detector; if it is a checkpoint, give it to meta_fit.") from None
        if kind != cls.__name__:
            raise ValueError(f"{path} holds a {kind}; load it with {kind}.load(path).")
        detector = cls(**files.unpack(params, network))
        if "units" in arrays:
            source = state.pop("source")
            source = tuple(source) if isinstance(source, list) else source
            detector.trained_on_ = SimpleNamespace(source=source, units=arrays.pop("units"))
        for name, value in state.items():
            setattr(detector, name, value)
        groups: dict[str, Params] = {}
        for key, value in arrays.items():
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = torch.as_tensor(value).to(detector._place["device"])
        fixed = groups.pop("fixed", {})
        vars(detector).update(groups)
        if network is not None:
            detector._fill(fixed)
        detector._trained_shape = detector._shape()
        return detector

    def _fill(self, fixed: Params) -> None:
        """Put frozen parameters and buffers into a network of the reader's own, if it is the one that was saved."""
        network = self._network
        values = getattr(self, "meta_", None) or self.params_
        shared = {name[6:]: value for name, value in values.items() if name.startswith("start.")}
        learnt, own = shared or values, network.module.state_dict()
        fits = learnt.keys() == network.dims.keys() and fixed.keys() == network.fixed().keys()
        saved = fixed | learnt
        if not fits or any(saved[n].shape[saved[n].dim() - own[n].dim() :] != own[n].shape for n in saved):
            raise ValueError("The network given is not the one that was saved: it has other parameters.")
        network.module.load_state_dict(fixed, strict=False)
