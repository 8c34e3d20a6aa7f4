# In-sample predictions of Goulard, Laurent & Thomas-Agnan (2017) by spatialreg, for tests/effects/test_scenarios.py.
# Run in this folder: Rscript predictions.R; writes predictions.csv (unit, model, kind, value) and prints the versions.
library(spatialreg)
data <- read.csv("data.csv"); edges <- read.csv("edges.csv")
n <- nrow(data); W <- matrix(0, n, n)
ids <- as.character(data$NEIG)
W[cbind(match(edges$i, ids), match(edges$j, ids))] <- 1
W <- W / rowSums(W)
listw <- spdep::mat2listw(W, row.names = ids, style = "W")
row.names(data) <- ids
formula <- CRIME ~ INC + HOVAL
fits <- list(
  SAR = lagsarlm(formula, data, listw, tol.solve = 1e-14, control = list(tol.opt = 1e-14)),
  SDM = lagsarlm(formula, data, listw, Durbin = TRUE, tol.solve = 1e-14, control = list(tol.opt = 1e-14)),
  SEM = errorsarlm(formula, data, listw, tol.solve = 1e-14, control = list(tol.opt = 1e-14))
)
out <- NULL
for (model in names(fits)) for (kind in c("TS", "TC", "BP")) {
  value <- tryCatch(as.numeric(predict(fits[[model]], pred.type = kind, listw = listw)), error = function(e) { message(model, " ", kind, ": ", conditionMessage(e)); NULL })
  if (!is.null(value)) out <- rbind(out, data.frame(unit = ids, model = model, kind = kind, value = value))
}
coefs <- do.call(rbind, lapply(names(fits), function(m) data.frame(unit = names(coef(fits[[m]])), model = m, kind = "coefficient", value = as.numeric(coef(fits[[m]])))))
write.csv(format(rbind(out, coefs), digits = 15), "predictions.csv", row.names = FALSE, quote = FALSE)
print(c(R = R.version.string, spatialreg = as.character(packageVersion("spatialreg")), spdep = as.character(packageVersion("spdep"))))
