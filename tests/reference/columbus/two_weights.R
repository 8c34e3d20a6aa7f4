# SAR with spatial errors under another W (spatialreg::sacsarlm with listw2), for tests/models/test_shape.py.
# W of the error: row-normalised second-order neighbours. Run in this folder: Rscript two_weights.R; prints the versions.
library(spatialreg)
data <- read.csv("data.csv"); edges <- read.csv("edges.csv")
n <- nrow(data); ids <- as.character(data$NEIG); A <- matrix(0, n, n)
A[cbind(match(edges$i, ids), match(edges$j, ids))] <- 1
second <- ((A %*% A) > 0) * 1 * (A == 0); diag(second) <- 0
as_listw <- function(M) spdep::mat2listw(M / pmax(rowSums(M), 1), row.names = ids, style = "W")
row.names(data) <- ids
fit <- sacsarlm(CRIME ~ INC + HOVAL, data, as_listw(A), listw2 = as_listw(second),
                tol.solve = 1e-14, control = list(tol.opt = 1e-14, opt_control = list(rel.tol = 1e-15, x.tol = 1e-12)))
out <- data.frame(param = c("rho", "lam", names(fit$coefficients), "sigma2"),
                  estimate = as.numeric(c(fit$rho, fit$lambda, fit$coefficients, fit$s2)),
                  se = as.numeric(c(fit$rho.se, fit$lambda.se, fit$rest.se, NA)))
write.csv(format(out, digits = 15), "two_weights.csv", row.names = FALSE, quote = FALSE)
print(out, digits = 10); print(c(R = R.version.string, spatialreg = as.character(packageVersion("spatialreg")), spdep = as.character(packageVersion("spdep"))))
