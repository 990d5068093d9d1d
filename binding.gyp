# node-gyp's way in: CMakeLists.txt holds the only list of sources, and scripts/build-native.mjs builds from it.
{
  "targets": [{
    "target_name": "infernode",
    "type": "none",
    "actions": [{
      "action_name": "build_with_cmake",
      "inputs": ["CMakeLists.txt"],
      # Nothing writes the second: CMake, not make, decides what is up to date, so it must always be asked.
      "outputs": ["<(PRODUCT_DIR)/infernode.node", "<(PRODUCT_DIR)/always"],
      "action": ["node", "scripts/build-native.mjs"],
    }],
  }],
}
