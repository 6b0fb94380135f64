// What Kusto's own language service says of queries. Standard input: {"schema": {table: {column: type}},
// "queries": [query]}. Standard output: for each query, its mistakes.
require("@kusto/language-service-next/bridge.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.js");

const { KustoCode, GlobalState, Symbols } = Kusto.Language;
const { schema, queries } = JSON.parse(require("fs").readFileSync(0, "utf-8"));

const tables = Object.entries(schema).map(([name, columns]) => {
  const written = Object.entries(columns).map(([column, type]) => `${column}: ${type}`);
  return Symbols.TableSymbol.From(`(${written.join(", ")})`).WithName(name);
});
const database = new Symbols.DatabaseSymbol.ctor("application-insights", tables);
const globals = GlobalState.Default.WithDatabase(database);

const mistakes = queries.map((query) => {
  const code = KustoCode.ParseAndAnalyze(query, globals);
  const found = code.GetDiagnostics();
  return Array.from({ length: found.Count }, (_, n) => found.getItem(n))
    .filter((each) => each.Severity === "Error")
    .map((each) => each.Message);
});
console.log(JSON.stringify(mistakes));
