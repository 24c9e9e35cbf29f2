"""Metrics of stored predictions, with their intervals.

measure     the content of metrics.json
agreement   scores against labels: six metrics of one dimension
answers     accuracies of models on the same questions
logistic    the 4-parameter logistic fit
bootstrap   draws, intervals, p-values
ranks       SRCC and KRCC of all resamples at once
moments     PLCC, RMSE and means of all resamples at once
"""
