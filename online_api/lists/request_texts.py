"""Encodes texts of requests: texts of products that the release does not have, and search queries.

The text encoder takes seconds and hundreds of megabytes to load, and most shops never send a text. So the first text
starts loading it in the background. Meanwhile, new products are left out and queries are matched by spelling alone.

Legend: M texts, T dimensions of the text encoder, D dimensions of the towers.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from feature_repo.common.arrays import Float32Array
from feature_repo.transforms.normalise import normalise
from training.artifacts.recommender import Recommender

if TYPE_CHECKING:  # importing it loads sentence-transformers
    from training.text.encoder import TextEncoder

log = logging.getLogger(__name__)

CACHED_ENCODERS = 2  # one for the live release, and one for the release before it while requests still use that


class RequestTextEncoder:
    """Encodes texts of requests with the text encoder of a release; safe to use from several threads."""

    def __init__(self, load: Callable[[Recommender], "TextEncoder"]) -> None:
        """Loads nothing yet; `load` loads the text encoder of a release or raises ValueError, OSError, ImportError."""
        self._load = load
        self._encoders: dict[str, TextEncoder] = {}  # by id, in the order of loading
        self._requested: set[str] = set()  # ids of encoders that are being loaded or that failed to load
        self._loading: threading.Thread | None = None
        self._lock = threading.Lock()

    def product_vectors(self, recommender: Recommender, texts: Sequence[str]) -> Float32Array | None:
        """Product vectors of texts, (M, D); None while the release's encoder is not loaded."""
        encoder = self._encoder_of(recommender)
        return None if encoder is None else recommender.encode_new_products(encoder.encode_passages(texts))

    def query_vector(self, recommender: Recommender, query: str) -> Float32Array | None:
        """The text vector of a query, (T,); None while the release's encoder is not loaded.

        The query is normalised before it is encoded, which finds more; product texts are not (docs/adr/0006).
        """
        encoder = self._encoder_of(recommender)
        return None if encoder is None else encoder.encode_queries([normalise(query)])[0]

    def load(self, recommender: Recommender) -> None:
        """Loads the release's encoder and waits until it is loaded or has failed to load."""
        self._encoder_of(recommender)
        self.wait()

    def wait(self) -> None:
        """Waits until the encoder that is being loaded is ready or has failed to load."""
        if self._loading is not None:
            self._loading.join()

    def _encoder_of(self, recommender: Recommender) -> "TextEncoder | None":
        """The encoder of a release if it is loaded; otherwise starts loading it and returns None."""
        encoder_id = recommender.text_encoder
        # Loading takes seconds, so a thread of its own does it, without the lock; requests go on without the encoder.
        with self._lock:
            encoder = self._encoders.get(encoder_id)
            if encoder is None and encoder_id not in self._requested:
                self._requested.add(encoder_id)
                self._loading = threading.Thread(
                    target=self._load_once, args=(recommender,), name="text-encoder", daemon=True
                )
                self._loading.start()
        return encoder

    def _load_once(self, recommender: Recommender) -> None:
        """Loads the encoder; after a failure it is not tried again before a restart."""
        encoder_id = recommender.text_encoder
        try:
            encoder = self._load(recommender)
            encoder.encode_queries([" "])  # the first call converts the model; no request should wait for that
        except (ValueError, OSError, ImportError) as error:
            log.error("texts of requests are ignored, the text encoder cannot be loaded: %s", error)
            return
        # Vectors of another encoder mean something else, so they must not be compared with those of the release.
        if encoder.encoder_id != encoder_id:
            log.error(
                "texts of requests are ignored: release %s was made with text encoder %s, and %s is installed",
                recommender.name,
                encoder_id,
                encoder.encoder_id,
            )
            return
        with self._lock:
            self._encoders[encoder_id] = encoder
            self._requested.discard(encoder_id)
            for oldest in list(self._encoders)[:-CACHED_ENCODERS]:
                del self._encoders[oldest]
