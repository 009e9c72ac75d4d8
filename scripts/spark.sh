#!/usr/bin/env bash
# make spark-interop: Spark reads a table that the real binary wrote. spark.sh ROUNDS
#
# Spark's wheel and Delta's jars (half a gigabyte) are fetched once, into target/. Wanted from the
# environment: TIDEGATE_PYTHON, TIDEGATE_SERVICES, TIDEGATE_BIN.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=$1
venv=target/venv-spark
jars=target/spark-jars
copy=org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies

command -v java >/dev/null || { echo "Java 17 is missing, on Debian: apt-get install openjdk-17-jre-headless" >&2; exit 1; }
command -v mvn >/dev/null || { echo "Maven is missing, on Debian: apt-get install maven" >&2; exit 1; }

if [ ! -e "$venv/.done" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/requirements-spark.txt
    touch "$venv/.done"
fi
if [ ! -e "$jars/.done" ]; then
    mvn -q -B -f tests/spark/pom.xml "$copy" -DincludeScope=runtime \
        -DincludeGroupIds=io.delta,io.unitycatalog -DoutputDirectory="$PWD/$jars"
    touch "$jars/.done"
fi

"$TIDEGATE_PYTHON" tests/interop.py --place local --rounds "$rounds" --keep
# The script shares the records and the ways to compare with interop.py, which needs the other packages.
packages=$("$TIDEGATE_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
SPARK_JARS=$(find "$jars" -name '*.jar' -printf '%p,' | sed 's/,$//') PYTHONPATH=$packages \
    "$venv/bin/python" tests/spark_read.py "$PWD/target/interop/local/table" "$rounds"
