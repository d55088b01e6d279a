package runner

import "debug/elf"

const nativeMachine = elf.EM_AARCH64
