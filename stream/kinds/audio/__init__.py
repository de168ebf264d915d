"""Sound and vibration: AudioChunks of any length, put together per microphone into clips, to scores, patches and microphone alerts."""
