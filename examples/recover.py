"""Recover a full checkpoint from its payload with the standard library alone.

python recover.py FILE.ckpt.gz > state.pickle    the state, a dictionary, as one pickle
python recover.py FILE.ckpt.gz --keys            its keys, types and sizes; nothing is unpickled
"""

import gzip
import json
import pickle
import sys
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from struct import unpack

raw = Path(sys.argv[1]).read_bytes()
magic, version, start, length, digest = unpack("<8sHQQ32s", raw[-68:-10])
stored = raw[start : start + length]
if (magic, version, digest) != (b"CKPTDB\r\n", 1, sha256(stored).digest()):
    sys.exit("this is no payload of format 1, or it was cut off or changed")
manifest = json.loads(gzip.decompress(stored))
fulls = [each for each in manifest["checkpoints"] if not each["incremental"]]
if not fulls:
    sys.exit("the checkpoint is incremental: other payloads hold a part of it")
chunks, state = [], {}
for start, length, _, expected, sizes in manifest["members"]:
    if sha256(raw[start : start + length]).hexdigest() != expected:
        sys.exit(f"the member at byte {start} is damaged")
    plain = BytesIO(gzip.decompress(raw[start : start + length]))
    chunks += [plain.read(size if isinstance(size, int) else size[0]) for size in sizes]
for key, _, number in sorted(fulls[-1]["entries"], key=lambda entry: (entry[1], entry[0])):
    _, type_name, maker, layout, numbers = manifest["values"][number]
    plain = BytesIO(b"".join(chunks[each] for each in numbers))
    stream, *buffers = [bytearray(plain.read(size)) for size in layout]
    if "--keys" in sys.argv:
        print(f"{key!r}: {type_name}, {sum(layout)} bytes")
    else:
        state[key] = buffers[0] if maker == "stream" else pickle.loads(stream, buffers=buffers)
if "--keys" not in sys.argv:
    sys.stdout.buffer.write(pickle.dumps(state))
