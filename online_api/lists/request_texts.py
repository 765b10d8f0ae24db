"""Vectors of texts that no release has: new products in a session, and what a buyer types into a search field.

The text encoder takes hundreds of megabytes and seconds to load, and most shops never send a text: so it is loaded in
the background when the first text arrives. Until it is there, new products are left out and queries go by spelling.

Legend: M texts, T dimensions of the text encoder, D of the towers.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from feature_repo.transforms.normalise import normalise
from training.artifacts.recommender import Recommender
from training.artifacts.search.filtered_search import Floats
from training.model.towers import UNKNOWN

if TYPE_CHECKING:  # importing it loads sentence-transformers
    from training.text.encoder import TextEncoder

log = logging.getLogger(__name__)

KEPT = 2  # encoders: that of the live release and, while releases change, of the one before


class TextVectors:
    """The text encoder, and the item tower over texts alone; safe to use from several threads."""

    def __init__(self, load: Callable[[Recommender], "TextEncoder"]) -> None:
        """Takes what loads a release's text encoder; it may fail with a ValueError, an OSError or an ImportError."""
        self._load = load
        self._encoders: dict[str, TextEncoder] = {}  # by id, the newest last
        self._asked_for: set[str] = set()  # ids of those that are being loaded, or could not be
        self._loading: threading.Thread | None = None
        self._lock = threading.Lock()

    def item_vectors(self, recommender: Recommender, texts: Sequence[str]) -> Floats | None:
        """Unit vectors of texts among the release's products, (M, D); None while there is no encoder for it."""
        encoder = self._encoder_of(recommender)
        if encoder is None:
            return None
        text_MT = torch.from_numpy(encoder.encode_passages(texts))
        unknown_M = torch.full((len(texts),), UNKNOWN)
        with torch.inference_mode():
            vectors_MD: Floats = recommender.item_tower(text_MT, unknown_M, unknown_M, unknown_M, unknown_M).numpy()
        return vectors_MD

    def query_vector(self, recommender: Recommender, query: str) -> Floats | None:
        """The text vector of a query, (T,); None while there is no encoder for the release.

        A query is encoded in one spelling, which finds more; products are as they are written (docs/adr/0006).
        """
        encoder = self._encoder_of(recommender)
        return None if encoder is None else encoder.encode_queries([normalise(query)])[0]

    def load(self, recommender: Recommender) -> None:
        """Loads the release's encoder now, and waits for it."""
        self._encoder_of(recommender)
        self.wait()

    def wait(self) -> None:
        """Waits until an encoder that is being loaded is there, or is known not to come."""
        if self._loading is not None:
            self._loading.join()

    def _encoder_of(self, recommender: Recommender) -> "TextEncoder | None":
        """The encoder of a release; the first call for a release with another one has it loaded."""
        wanted = recommender.card.text_encoder
        with self._lock:
            encoder = self._encoders.get(wanted)
            if encoder is None and wanted not in self._asked_for:
                self._asked_for.add(wanted)
                self._loading = threading.Thread(
                    target=self._load_once, args=(recommender,), name="text-encoder", daemon=True
                )
                self._loading.start()
        return encoder

    def _load_once(self, recommender: Recommender) -> None:
        """Loads the encoder; one that cannot be had is not asked for again before a restart."""
        wanted = recommender.card.text_encoder
        try:
            encoder = self._load(recommender)
            encoder.encode_queries([" "])  # it is converted now, not in the first request
        except (ValueError, OSError, ImportError) as error:
            log.error("texts will be left out: %s", error)
            return
        if encoder.encoder_id != wanted:
            log.error("release %s was made with text encoder %s, the one that is there is %s: texts are left out",
                      recommender.name, wanted, encoder.encoder_id)  # fmt: skip
            return
        with self._lock:
            self._encoders[wanted] = encoder
            self._asked_for.discard(wanted)
            for oldest in list(self._encoders)[:-KEPT]:
                del self._encoders[oldest]
