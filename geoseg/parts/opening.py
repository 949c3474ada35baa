"""A run is begun, or gone on with: what is there is looked at first, and held while it lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from geoseg.errors import OutputError, ParameterError
from geoseg.parts.folders import MANIFEST, parse_part_name
from geoseg.parts.manifests import Manifest, check_same, is_ours, manifest_bytes, new_manifest, parse_manifest
from geoseg.parts.runs import Run, clear, log
from geoseg.parts.stores import FolderStore, Listing, Store, is_url, store_at
from geoseg.tiling import Window
from geoseg.wording import listed


@contextmanager
def open_run(
    folder: Path,
    fingerprint: Mapping[str, object],
    planes: Sequence[str],
    *,
    resume: bool = True,
    elsewhere: str | None = None,
) -> Iterator[Run]:
    """Begin a run, or go on with the one that was left.

    However the block is left, the parts stay, unless :meth:`Run.finish` was called. A run that never wrote a part
    leaves nothing.

    Args:
        folder: Of the run alone; made where it is absent, beside the output.
        fingerprint: All that changes pixels, as JSON: parts of another fingerprint are not used.
        planes: Names of the planes of each part.
        resume: Whether to go on; else what an older run left is removed.
        elsewhere: Where the parts are, a path or a URL, if not in ``folder``.

    Raises:
        ParameterError: It holds parts of other parameters; the message says which. Or there can be no parts elsewhere.
        OutputError: Another run holds it, it holds files that are not ours, or it cannot be written.
    """
    folder = Path(folder)
    wanted = new_manifest(fingerprint, planes)
    if elsewhere is not None and not is_url(elsewhere) and Path(elsewhere).resolve() == folder.resolve():
        elsewhere = None  # two locks of one folder would keep each other out
    store = store_at(folder if elsewhere is None else elsewhere)
    with store.errors():
        _check_own(store)  # before a lock is put there
    with ExitStack() as stack:
        if elsewhere is not None:
            stack.enter_context(_workshop(FolderStore(folder), resume))
        stack.enter_context(store.held())
        with store.errors():
            run = _begin(folder, store, wanted, resume)
        try:
            yield run
        finally:
            if not run.kept:
                with suppress(OSError), store.errors():  # whatever ended the block is what matters
                    clear(store)


@contextmanager
def _workshop(folder: FolderStore, resume: bool) -> Iterator[None]:
    """Hold the folder beside the output, in which no parts are."""
    with folder.errors():
        _check_own(folder)
    with folder.held():
        with folder.errors():
            if resume and _check_own(folder).manifest:
                raise ParameterError(
                    f"{folder} holds parts of a run that kept them there; without --parts-folder (parts_folder) the "
                    "same command goes on with them, --no-resume (resume=False) starts over"
                )
            clear(folder)
        yield


def _check_own(store: Store) -> Listing:
    """What lies where a run is to be; an OutputError where that is not what it is."""
    listing = store.listing()
    if listing.manifest:
        with store.errors(MANIFEST):
            ours = is_ours(store.read(MANIFEST))
        if not ours:
            name = store.named(MANIFEST)
            raise OutputError(f"{name} is not geoseg's, so {store} is not its folder of parts; rename one of them")
    elif listing.foreign:
        raise OutputError(
            f"{store} holds files that are not geoseg's ({listed(listing.foreign)}), and the run needs a folder of "
            "its own there; move it or choose another output"
        )
    return listing


def _begin(folder: Path, store: Store, wanted: Manifest, resume: bool) -> Run:
    listing = _check_own(store)
    if resume and listing.manifest:
        found = parse_manifest(store.read(MANIFEST), store.named(MANIFEST))
        check_same(store, found, wanted)
        store.remove(listing.temporaries)
        return Run(folder, store, found, _complete(store, listing, found.run), created=False)
    clear(store)
    store.write(MANIFEST, manifest_bytes(wanted))
    return Run(folder, store, wanted, {}, created=True)


def _complete(store: Store, listing: Listing, run: str) -> dict[Window, str]:
    """Parts of a run as long as they were written; others are removed, to be made anew."""
    parts, others = dict[Window, str](), list[str]()
    for name, found in listing.parts:
        owner, window, size = parse_part_name(name)
        if owner == run and found == size:
            parts[window] = name
            continue
        if owner == run:
            log.warning("%s is cut short: %d bytes of %d; it is made anew", store.named(name), found, size)
        others.append(name)
    store.remove(others)
    return parts
