import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** A classic script in the head, since a module would run after the first paint, and the policy forbids inline ones. */
function firstScript(): Plugin {
  const source = readFileSync(here("src/first.js"), "utf8");
  const fileName = `assets/first-${createHash("sha256").update(source).digest("hex").slice(0, 8)}.js`;
  let building = false;
  return {
    name: "first-script",
    configResolved: (config) => {
      building = config.command === "build";
    },
    generateBundle() {
      this.emitFile({ type: "asset", fileName, source });
    },
    transformIndexHtml: () => [
      { tag: "script", attrs: { src: building ? `/${fileName}` : "/src/first.js" }, injectTo: "head-prepend" },
    ],
  };
}

const API = process.env.VERIREGIME_API ?? "http://127.0.0.1:8000";

export default defineConfig({
  base: "/",
  plugins: [firstScript()],
  build: {
    outDir: here("../app/web/pages"),
    emptyOutDir: true,
    target: "es2022",
    // The policy allows no inlined fonts or scripts, and a preload helper would only serve browsers of long ago.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1600,
    rollupOptions: { input: [here("index.html"), here("prediction.html"), here("docs.html")] },
  },
  server: { proxy: { "/v1": API, "/openapi.json": API } },
});
