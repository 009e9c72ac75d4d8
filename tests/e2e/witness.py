"""Sees every life of our pods: a watch from the beginning to the end, and their logs."""

import json
import subprocess
import threading

import kube

LABEL = "app.kubernetes.io/name=tidegate"
# How a pod may end that was told to: by SIGKILL, or as a run that another attempt goes on with.
TOLD = {"ended with 137", "ended with 75"}


class Witness:
    """Knows every pod that ever carried our label."""

    def __init__(self):
        self.pods = {}
        self.told = set()
        self.lock = threading.Lock()
        (kube.OUTPUT / "logs").mkdir(parents=True, exist_ok=True)
        command = [kube.tool("kubectl"), "get", "pods", "-A", "-l", LABEL, "--watch", "-o", "json"]
        self.watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.followers = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        decoder, text = json.JSONDecoder(), ""
        for line in self.watch.stdout:
            text += line
            # kubectl ends each object with a brace in the first column.
            if line.startswith("}"):
                pod, _ = decoder.raw_decode(text.lstrip())
                text = ""
                self._see(pod)

    def _see(self, pod):
        uid = pod["metadata"]["uid"]
        containers = pod["status"].get("containerStatuses", [])
        with self.lock:
            known = self.pods.setdefault(uid, {"followed": False, "ended": False, "troubles": set()})
            known["name"] = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            known["troubles"] |= set(troubles(pod, containers))
            known["ended"] |= any("terminated" in c["state"] for c in containers)
            if not known["followed"] and any("running" in c["state"] for c in containers):
                known["followed"] = True
                self._follow(pod["metadata"], uid)

    def _follow(self, metadata, uid):
        log = kube.OUTPUT / "logs" / f"{metadata['name']}-{uid[:8]}.log"
        command = [kube.tool("kubectl"), "-n", metadata["namespace"], "logs", "--follow", metadata["name"]]
        with open(log, "wb") as output:
            self.followers.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))

    def was_told(self, pod):
        """This pod is about to be killed or drained by us."""
        with self.lock:
            self.told.add(pod["metadata"]["uid"])

    def accusations(self):
        """What happened to pods without being told to; fails when there is no telling."""
        self._must_have_seen_lives()
        return self.troubles()

    def troubles(self):
        with self.lock:
            return sorted(
                f"{known['name']}: {trouble}"
                for uid, known in self.pods.items()
                for trouble in known["troubles"]
                if not (uid in self.told and trouble in TOLD)
            )

    def _must_have_seen_lives(self):
        """A watch that broke off has nothing to say, and must not be taken for innocence."""
        if self.watch.poll() is not None:
            raise kube.Failed("the watch of the pods ended early")
        with self.lock:
            ended = sum(known["ended"] for known in self.pods.values())
        if not ended:
            raise kube.Failed(f"of {len(self.pods)} pods none was seen to end")

    def stop(self):
        for process in [self.watch, *self.followers]:
            process.terminate()
            process.wait()


def troubles(pod, containers):
    """What no pod of ours may show."""
    if pod["status"].get("reason") == "Evicted":
        yield "evicted"
    for container in containers:
        if container["restartCount"]:
            yield f"restarted {container['restartCount']} times"
        for state in (container["state"], container["lastState"]):
            ended = state.get("terminated", {})
            if ended.get("reason") == "OOMKilled":
                yield "out of memory"
            elif ended.get("exitCode"):
                yield f"ended with {ended['exitCode']}"
