"""The table in the cluster's store, seen from outside by programs that are not ours."""

import datetime
import os
import sys

import pyarrow
import pyarrow.fs
from pyarrow import compute

import documents
import kube

sys.path.insert(0, str(kube.ROOT / "tests"))
import read_table  # noqa: E402
import services  # noqa: E402

ENGINES = sorted(read_table.ENGINES)


def reach(endpoint):
    """Tells every engine where the store is."""
    os.environ.update(
        AWS_ENDPOINT_URL=endpoint,
        AWS_ACCESS_KEY_ID=documents.ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=documents.CANARIES["store"],
    )


def rows(url):
    """As the table's log counts them; 0 when there is no table."""
    try:
        if not read_table.is_table(url):
            return 0
        actions = read_table.delta_table(url).get_add_actions(flatten=True)
    except Exception as error:  # noqa: BLE001 - deltalake has no common one; whoever waits asks again
        raise kube.Failed(f"reading {url}: {error}") from error
    return sum(actions.column("num_records").to_pylist())


def sums(url, start, end):
    """Rows and cents of the orders of a stretch of time."""
    if not read_table.is_table(url):
        return 0, 0
    columns = read_table.delta_table(url).to_pyarrow_table(columns=["created_at", "cents"])
    times = columns.column("created_at")
    edges = [pyarrow.scalar(datetime.datetime.fromisoformat(edge), times.type) for edge in (start, end)]
    inside = compute.and_(compute.greater_equal(times, edges[0]), compute.less(times, edges[1]))
    cents = columns.filter(inside).column("cents")
    return len(cents), compute.sum(cents).as_py() or 0


def seen_by(engine, url):
    return read_table.describe(url, engine, with_ids=True)


def objects(url):
    """Every object below the table's root."""
    selector = pyarrow.fs.FileSelector(url.removeprefix("s3://"), recursive=True, allow_not_found=True)
    found = services.s3_files().get_file_info(selector)
    return [info.path for info in found if info.type == pyarrow.fs.FileType.File]
