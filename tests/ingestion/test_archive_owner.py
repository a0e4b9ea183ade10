"""A folder of the archive belongs to the project, or the development environment, that first wrote
to it.
"""

from contextlib import closing

import pytest

import headwater as hw
from headwater.errors import UsageError
from headwater.ingestion.archive import claim_folder
from headwater.stores.backup import restore
from headwater.stores.keyspace import developing, make_own, scoped
from tests.flow import Flow, home, streaming_view  # noqa: F401 (a fixture)


def sent(store, folder):
    """A commit, and its file in the archive."""
    flow = Flow([streaming_view()], store, folder)
    flow.send([{"key": 1, "amount": 1.0, "at": 10}], 20)
    flow.ingestor.roll(least=1)


def opened(path):
    return closing(hw.operations.open_store(f"lmdb:{path}?size=1GB"))


def test_two_projects_with_sources_of_one_name_do_not_share_a_folder(tmp_path):
    with opened(tmp_path / "one") as one, opened(tmp_path / "two") as two:
        for _ in range(2):
            sent(scoped(one, "shop", write=True), tmp_path)
        refusal = r"archive/events is that of project 'shop', as its file 'owner' says, and this is project 'bank'.*--data-dir"
        with pytest.raises(UsageError, match=refusal):
            sent(scoped(two, "bank", write=True), tmp_path)
        sent(scoped(two, "bank"), tmp_path / "another")
        # in the store of the other, where its sources have names of their own
        sent(scoped(one, "bank", write=True, shared=True), tmp_path)
        folder = tmp_path / "archive" / "events"
        (folder / "owner").unlink()  # as the error says, where the project was renamed
        claim_folder(folder, scoped(two, "bank"))
        with pytest.raises(UsageError, match="is that of project 'bank'"):
            sent(scoped(one, "shop"), tmp_path)


def test_one_project_may_move_to_another_store(tmp_path):
    with opened(tmp_path / "one") as one, opened(tmp_path / "two") as two:
        sent(scoped(one, "shop", write=True), tmp_path)
        one.backup(tmp_path / "backup")
        Flow([streaming_view()], scoped(one, "shop"), tmp_path)
        restore(tmp_path / "backup", f"lmdb:{tmp_path / 'restored'}?size=1GB")
        with opened(tmp_path / "restored") as restored:
            sent(scoped(restored, "shop"), tmp_path)
        sent(scoped(two, "shop", write=True), tmp_path / "another")


def test_production_and_development_environments_have_folders_of_their_own(tmp_path):
    with opened(tmp_path / "production") as production:
        scoped(production, "shop", write=True)
        sent(scoped(production, "shop"), tmp_path)
    url = f"lmdb:{tmp_path / 'production'}?size=1GB"
    for name, refused in (("mine", False), ("yours", True)):
        with opened(tmp_path / name) as store:
            make_own(store)
            environment = developing(scoped(store, "shop", write=True), "shop", url)
            view = streaming_view(windows=["2h"])

            def write(environment=environment, view=view):
                flow = Flow([view], environment, tmp_path)
                flow.send([{"key": 1, "amount": 1.0, "at": 10}], 20)
                flow.ingestor.roll(least=1)

            if refused:
                with pytest.raises(
                    UsageError,
                    match=r"development.events is that of project 'shop', development environment .* and this is project 'shop'",
                ):
                    write()
            else:
                write()
            environment.store.production.store.close()
