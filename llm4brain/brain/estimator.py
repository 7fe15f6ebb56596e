"""SC-MBM as a scikit-learn estimator, for arrays of shape (people, time, positions).

    l(s) = L_h (L_v' L_v + s I)^-1 L_v' x_v                           (brain/sc_mbm.py, equation 1)
    x^ = l(s) + m_1 (l(s/4) - l(s)) + m_2 (l(4 s) - l(s)) + |x_v| f(x_v / |x_v|)
    surprise = x - alpha x^

The linear path l has a closed-form solution. The network (m, f) learns the residual of l in people
whose volumes were not used to fit l (cross-fitting): residuals in the people used for the fit are
too small, and learning from them makes predictions for others worse. The network starts at 0, and
the epoch that is best on held-out people is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor, nn

from llm4brain.brain.masked_linear import explained, loadings, mix
from llm4brain.brain.positions import gather
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.sections import EncoderSettings

PARTS = 6  # with one person, its volumes are split into this many parts that stand in for people


class MaskedBrainModel(TransformerMixin, BaseEstimator):
    """Masked brain modelling of arrays: predict each position from the others.

    Args:
        n_components: number of components of the volumes' covariance; fewer if the data have fewer.
        noise: s, the noise variance of each position; z-scored BOLD has a variance of 1.
        alpha: fraction of the prediction that `transform` subtracts, 0 to 1.
        transform_noise: s for that prediction; None: `noise`. The best value for prediction is not
            the best one here: with little noise, much of a response is predicted from its
            neighbours, and would be subtracted.
        own_share: weight of a person's own covariance, 0 to 1, if `predict` is given unlabelled
            volumes of that person.
        n_epochs: training epochs of the network; 0 uses the linear path only.
        window: number of volumes in the network's input; fewer if the data have fewer.
        embed_dim: width of the encoder's tokens; a multiple of `num_heads`.
        depth: number of the encoder's blocks.
        num_heads: of the encoder's attention.
        decoder_embed_dim: width of the decoder's tokens.
        decoder_depth: number of the decoder's blocks.
        mask_ratio: fraction of positions masked in training; prediction masks an eighth at a time.
        learning_rate: maximum for AdamW; it rises over a tenth of the steps, then falls.
        weight_decay: of AdamW.
        batch_size: windows per step.
        n_folds: number of folds of people, for cross-fitting the linear path.
        validation_fraction: fraction of people held out to choose the best epoch.
        device: of the network.
        random_state: seed; the same seed gives the same model.

    Attributes:
        loadings_: L fitted to all people, (positions, k).
        network_: the `SCMBM`.
        history_: one dict per epoch, with `r2` on the held-out people; epoch 0 is the linear path.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(4, 60, 1)) + rng.normal(size=(4, 60, 20))
        >>> model = MaskedBrainModel(n_components=1, n_epochs=0).fit(X)
        >>> model.predict(X).shape
        (4, 60, 20)
        >>> bool(model.score(X) > 0.4)
        True
    """

    def __init__(
        self,
        n_components: int = 200,
        noise: float = 1.0,
        alpha: float = 0.8,
        transform_noise: float | None = None,
        own_share: float = 0.0,
        n_epochs: int = 10,
        window: int = 10,
        embed_dim: int = 48,
        depth: int = 1,
        num_heads: int = 2,
        decoder_embed_dim: int = 64,
        decoder_depth: int = 1,
        mask_ratio: float = 0.125,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        batch_size: int = 16,
        n_folds: int = 5,
        validation_fraction: float = 0.1,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.noise = noise
        self.alpha = alpha
        self.transform_noise = transform_noise
        self.own_share = own_share
        self.n_epochs = n_epochs
        self.window = window
        self.embed_dim = embed_dim
        self.depth = depth
        self.num_heads = num_heads
        self.decoder_embed_dim = decoder_embed_dim
        self.decoder_depth = decoder_depth
        self.mask_ratio = mask_ratio
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.n_folds = n_folds
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state

    # -- scikit-learn's methods

    def fit(self, X, y=None, coordinates=None):
        """Fit the linear path, then the network.

        Args:
            X: (people, time, positions), or (volumes, positions) of one person; z-scored.
            y: ignored.
            coordinates: (positions, 3) mm. Without them, the network encodes positions by their
                order.
        """
        X = _people(X)
        self.n_features_in_ = X.shape[2]
        if len(X) == 1:
            X = X[:, : X.shape[1] // PARTS * PARTS].reshape(PARTS, -1, X.shape[2])
        self.network_ = self._new_network(X.shape[1], X.shape[2], coordinates)
        self.loadings_ = self._loadings(X)
        self.history_: list[dict[str, float]] = []
        if self.n_epochs:
            self._train(X)
        self._set_linear(self.loadings_, self.noise)
        return self

    def predict(self, X, own=None, learned: bool = True) -> np.ndarray:
        """x^ of every position, each predicted while masked; same shape as X.

        Args:
            X: (people, time, positions) or (volumes, positions).
            own: additional unlabelled volumes of the same people, (people, n, positions) or
                (n, positions); used if `own_share` is above 0.
            learned: whether to add the network's part to the linear path.
        """
        return self._read(X, own, learned, self.noise)

    def transform(self, X, own=None, learned: bool = True) -> np.ndarray:
        """The surprise, X - alpha x^; for the arguments see `predict`."""
        noise = self.noise if self.transform_noise is None else self.transform_noise
        return np.asarray(X, dtype=np.float32) - self.alpha * self._read(X, own, learned, noise)

    def score(self, X, y=None, own=None) -> float:
        """R2 of the prediction: the fraction of the volumes' variance that it explains."""
        return explained(np.asarray(X, dtype=np.float32), self.predict(X, own))

    # -- the network

    def _read(self, X, own, learned: bool, noise: float) -> np.ndarray:
        check_is_fitted(self)
        people = _people(X, self.n_features_in_)
        self._set_linear(self.loadings_, noise)
        if own is None or self.own_share == 0:
            out = self._hidden_in_turns(people, learned)
        else:
            out = np.empty_like(people)
            for place, volumes in enumerate(_people(own, self.n_features_in_)):
                personal = mix(self.loadings_, self._loadings(volumes[None]), self.own_share)
                self._set_linear(personal, noise)
                out[place] = self._hidden_in_turns(people[place : place + 1], learned)[0]
        self._set_linear(self.loadings_, self.noise)
        return out.reshape(np.shape(X))

    def _new_network(self, time: int, positions: int, coordinates) -> SCMBM:
        where = np.full((positions, 3), np.nan) if coordinates is None else np.asarray(coordinates)
        if where.shape != (positions, 3):
            raise ValueError(f"coordinates are {where.shape}, and not {(positions, 3)}")
        settings = EncoderSettings(
            embed_dim=self.embed_dim,
            depth=self.depth,
            num_heads=self.num_heads,
            decoder_embed_dim=self.decoder_embed_dim,
            decoder_depth=self.decoder_depth,
            mask_ratio=self.mask_ratio,
        )
        with torch.random.fork_rng():
            torch.manual_seed(self.random_state)
            grid = gather(np.zeros(positions, dtype=int), where, 1)
            return SCMBM(settings, grid, min(self.window, time)).to(self.device).eval()

    def _loadings(self, X: np.ndarray) -> np.ndarray:
        return loadings(X.reshape(-1, X.shape[2]), self.n_components, self.random_state)

    def _set_linear(self, loading: np.ndarray, noise: float) -> None:
        self.network_.set_linear(torch.from_numpy(loading), noise)

    def _train(self, X: np.ndarray) -> None:
        """Learn the linear path's residual in people who were not used to fit it."""
        rng = np.random.default_rng(self.random_state)
        generator = torch.Generator().manual_seed(self.random_state)
        order = rng.permutation(len(X))
        n_validation = max(1, round(self.validation_fraction * len(X)))
        validation, train = X[order[:n_validation]], order[n_validation:]
        folds = [f for f in np.array_split(train, min(self.n_folds, len(train))) if len(f)]
        if len(folds) < 2:
            raise ValueError(f"{len(X)} people are too few: the network needs 3 (n_epochs=0: none)")
        without = [self._loadings(X[np.setdiff1d(train, fold)]) for fold in folds]
        whole = self._loadings(X[train])
        net = self.network_
        params = list(net.parameters())
        optimizer = torch.optim.AdamW(params, lr=self.learning_rate, weight_decay=self.weight_decay)
        per_person = X.shape[1] // net.tokenizer.volumes
        steps = sum(math.ceil(len(f) * per_person / self.batch_size) for f in folds)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            self.learning_rate,
            total_steps=max(steps * self.n_epochs + 1, 20),
            pct_start=0.1,
        )

        def validate(epoch: int) -> float:
            net.eval()
            self._set_linear(whole, self.noise)
            r2 = explained(validation, self._hidden_in_turns(validation))
            self.history_.append({"epoch": epoch, "r2": r2})
            return r2

        best, kept = validate(0), {k: v.clone() for k, v in net.state_dict().items()}
        for epoch in range(1, self.n_epochs + 1):
            net.train()
            for place in rng.permutation(len(folds)):
                self._set_linear(without[place], self.noise)
                for windows in self._draw(X[folds[place]], rng):
                    masks = net.draw_masks(len(windows), generator)
                    optimizer.zero_grad()
                    net(windows, masks).loss.backward()
                    nn.utils.clip_grad_norm_(params, 1.0)
                    optimizer.step()
                    schedule.step()
            if (r2 := validate(epoch)) > best:
                best, kept = r2, {k: v.clone() for k, v in net.state_dict().items()}
        self._set_linear(whole, self.noise)  # so that buffers have the size of the saved ones
        net.load_state_dict(kept)
        net.eval()

    def _draw(self, X: np.ndarray, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of windows, cut anew each epoch, with random sign flips, since the mean is 0."""
        volumes = self.network_.tokenizer.volumes
        starts = np.arange(X.shape[1] // volumes) * volumes
        start = starts + rng.integers(X.shape[1] - starts[-1] - volumes + 1)
        place = np.stack(np.meshgrid(np.arange(len(X)), start, indexing="ij"), -1).reshape(-1, 2)
        place = rng.permutation(place)
        for begin in range(0, len(place), self.batch_size):
            rows = place[begin : begin + self.batch_size]
            windows = np.stack([X[p, s : s + volumes] for p, s in rows])
            windows *= rng.choice([-1, 1], (len(rows), 1, 1)).astype(np.float32)
            yield torch.from_numpy(windows).to(self.device)

    @torch.no_grad()
    def _hidden_in_turns(self, X: np.ndarray, learned: bool = True) -> np.ndarray:
        """x^ of (people, time, positions), window by window; the last window may overlap."""
        net, time = self.network_, X.shape[1]
        volumes = net.tokenizer.volumes
        if time < volumes:
            raise ValueError(f"{time} volumes are fewer than a window of {volumes}")
        starts = sorted({*range(0, time - volumes + 1, volumes), time - volumes})
        places = [(p, s) for p in range(len(X)) for s in starts]
        out = np.empty_like(X)
        for begin in range(0, len(places), self.batch_size):
            some = places[begin : begin + self.batch_size]
            windows = np.stack([X[p, s : s + volumes] for p, s in some])
            found = net.predictable(torch.from_numpy(windows).to(self.device), learned).cpu()
            for (p, s), window in zip(some, found.numpy(), strict=True):
                out[p, s : s + volumes] = window
        return out


def _people(X, positions: int | None = None) -> np.ndarray:
    """X as (people, time, positions) float32."""
    X = check_array(X, dtype=np.float32, allow_nd=True, ensure_min_samples=1)
    X = X[None] if X.ndim == 2 else X
    if X.ndim != 3 or positions not in (None, X.shape[2]):
        wanted = "positions" if positions is None else positions
        raise ValueError(f"X is {X.shape}, and not (people, time, {wanted})")
    return X
