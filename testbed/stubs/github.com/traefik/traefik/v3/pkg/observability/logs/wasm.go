package logs // without the logger for WebAssembly plugins
