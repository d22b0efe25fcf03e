"""`python -m ipykernel_launcher`, where this folder is on PYTHONPATH: the kernel is a fork.

What is forked (`serve`) has imported the large libraries and nothing of ours: as strict as a fresh
kernel, and four seconds sooner. The kernel and the process that asked for it live as long as the
socket between them: when one is killed, the other ends.
"""

import importlib
import json
import os
import runpy
import socket
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ADDRESS = "ADVLATGAN_TEST_KERNELS"


def ask():
    "Have the kernel forked that this process would be, and wait for its end."
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ[ADDRESS])
        told = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode()
        socket.send_fds(server, [len(told).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(told)
        server.recv(1)


def serve(address, *large):
    "Import these, then fork a kernel for each connection."
    for name in large:
        importlib.import_module(name)
    assert not any(name.split(".")[0] == "advlatgan" for name in sys.modules)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(16)
        while True:
            asker, _ = listening.accept()
            if not os.fork():
                listening.close()
                become_kernel(asker)
            asker.close()
            bury()


def bury():
    "Take leave of children that have ended."
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def become_kernel(asker):
    "The arguments, environment, folder and streams of the asker, then its program."
    size, streams, *_ = socket.recv_fds(asker, 8, 3)
    told = asker.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
    sys.argv, environment, folder = json.loads(told)
    for stream, here in zip(streams, (0, 1, 2)):
        os.dup2(stream, here)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:] = [folder, *(p for p in sys.path if os.path.abspath(p) != HERE)]
    sys.modules["torch"].set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    threading.Thread(target=lambda: (asker.recv(1), os._exit(1)), daemon=True).start()
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    else:
        ask()
