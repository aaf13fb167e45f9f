// The API's own description, shown by Swagger UI from this server: nothing is asked of anybody else.

import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";
import "./styles/docs.css";
import { isDark, themeToggle } from "./page/theme";

themeToggle(() => document.documentElement.classList.toggle("dark-mode", isDark()));

SwaggerUI({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  // Its validator badge would send the description's address to its makers.
  validatorUrl: null,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
});
